import { describe, expect, it } from "vitest";
import { examples } from "../scripts/docs/examples/index.ts";
import { currentText, generatedFiles, staleFiles } from "../scripts/docs.ts";
import { passes } from "../src/index.ts";

const files = await generatedFiles();

describe("generated pages and schemas", () => {
  it.each([...files.keys()])("%s is what `npm run docs` writes", (path) => {
    expect(currentText(path)).toBe(files.get(path));
  });
  it("has no page of a pass or target that is gone", () => {
    expect(staleFiles(files)).toEqual([]);
  });
  it("shows every pass at work, and no pass that is gone", () => {
    expect(Object.keys(examples).sort()).toEqual(passes.map((p) => p.name).sort());
    for (const p of passes) {
      const page = files.get(`docs/passes/${p.name}.md`)!;
      const [before, after] = [...page.matchAll(/```text\n([\s\S]*?)```/g)].map((m) => m[1]!);
      expect(before, p.name).not.toBe(after);
      for (const graph of [before!, after!]) expect(graph.split("\n").length, p.name).toBeLessThan(45);
    }
  });
  it("covers every part", () => {
    const paths = [...files.keys()];
    for (const part of [
      "schema/recipe.json",
      "schema/report.json",
      "schema/build.json",
      "docs/codes.md",
      "docs/cli.md",
    ])
      expect(paths).toContain(part);
    expect(paths.filter((p) => p.startsWith("docs/passes/")).length).toBeGreaterThan(10);
    expect(paths.filter((p) => p.startsWith("docs/targets/")).length).toBeGreaterThanOrEqual(3);
  });
});
