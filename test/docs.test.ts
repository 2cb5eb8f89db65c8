import { describe, expect, it } from "vitest";
import { currentText, generatedFiles, staleFiles } from "../scripts/docs.ts";

const files = generatedFiles();

describe("generated pages and schemas", () => {
  it.each([...files.keys()])("%s is what `npm run docs` writes", (path) => {
    expect(currentText(path)).toBe(files.get(path));
  });
  it("has no page of a pass or target that is gone", () => {
    expect(staleFiles(files)).toEqual([]);
  });
  it("covers every part", () => {
    const paths = [...files.keys()];
    for (const part of ["schema/recipe.json", "schema/report.json", "docs/codes.md", "docs/cli.md"])
      expect(paths).toContain(part);
    expect(paths.filter((p) => p.startsWith("docs/passes/")).length).toBeGreaterThan(10);
    expect(paths.filter((p) => p.startsWith("docs/targets/")).length).toBeGreaterThanOrEqual(3);
  });
});
