import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { diffpress, PIPELINE, scratch } from "./harness.ts";

const dir = scratch();

it("builds, prints the report as data, tells people on stderr, and exits with 3 for a missed budget", async () => {
  const recipe = join(dir, "recipe.yaml");
  writeFileSync(recipe, "extends: exact\nbudgets: { bytes: 1 KB }\n");
  const out = join(dir, "out");
  const made = await diffpress("compile", PIPELINE, "--recipe", recipe, "--no-verify", "--json", "-o", out);
  expect(made.code).toBe(3);
  const { report } = JSON.parse(made.stdout) as { report: { budgets: unknown[] } };
  expect(report).toEqual(JSON.parse(readFileSync(join(out, "report.json"), "utf8")));
  expect(report.budgets).toMatchObject([{ name: "bytes", target: "cpu-x64", limit: 1000, met: false }]);
  expect(made.stderr).toContain(`report  ${out}/report.json`);
  expect(made.stderr).toContain("not met");

  const inspection = await diffpress("inspect", join(out, "cpu-x64"), "--json");
  expect(inspection.code).toBe(0);
  const { components } = JSON.parse(inspection.stdout) as {
    components: { name: string; flops: number | null }[];
  };
  const unet = components.find((c) => c.name === "unet")!;
  expect(unet.flops).toBeGreaterThan(3e8);

  const verdict = await diffpress(
    ...["verify", PIPELINE, join(out, "cpu-x64"), "--quick", "--steps", "2", "--seeds", "2", "--json"],
  );
  expect(verdict.code).toBe(0);
  const { settings } = JSON.parse(verdict.stdout) as { settings: { sqnr: { mean: number } }[] };
  expect(settings[0]!.sqnr.mean).toBeGreaterThan(100);
});
