import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { compile } from "../../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "diffpress-half-floor-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const PIPELINE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));

it("a floor of half precision is measured on the calibration trajectory, every value rounded", async () => {
  const { report } = await compile(PIPELINE, {
    out: join(dir, "out"),
    recipe: {
      extends: "exact",
      calibration: { samples: 1, steps: 2 },
      passes: ["clean", { "convert-float": { to: "f16", floor: { mean: 10, worst: 10 } } }],
    },
    targets: ["webgpu"],
    verify: false,
  });
  const { passes } = report.targets["webgpu"]!;
  const kept = passes.flatMap((p) => p.decisions).filter((d) => d.rule === "fidelity-floor");
  expect(kept).toHaveLength(1);
  expect(kept[0]).toMatchObject({ kind: "applied", to: "mean 10 dB, worst 10 dB" });
  // Rounding every value costs this much; a runtime that computes in fp32 would be beyond 65.
  expect(kept[0]!.error!.value).toBeGreaterThan(45);
  expect(kept[0]!.error!.value).toBeLessThan(65);
}, 120_000);
