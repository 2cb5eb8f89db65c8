import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { renderVerification } from "../../cli/render/verification.ts";
import { type BuildFile, compile, readModel, type Report, selfTest, verify } from "../../src/index.ts";

const PIPELINE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-twins-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const out = join(dir, "build");
const IDS = ["cuda", "directml"];
let report: Report;

beforeAll(async () => {
  const verification = { samples: 2, steps: 4 };
  ({ report } = await compile(PIPELINE, {
    out,
    recipe: { extends: "fp16", verification },
    targets: IDS,
  }));
}, 480_000);

describe.each(IDS)("a build for %s", (id) => {
  it("holds operators without a CPU kernel, which its checker takes", async () => {
    const model = await readModel(join(out, id, "unet/model.onnx"));
    const norms = [...model.graph.nodes()].filter((n) => n.op === "GroupNorm");
    expect(norms.length).toBeGreaterThan(20);
    for (const n of norms)
      expect(n.inputs.slice(1).map((i) => model.graph.constant(i!)?.dtype)).toEqual(["f32", "f32"]);
    for (const c of report.targets[id]!.checks)
      expect(c.findings.filter((f) => f.severity === "reject")).toEqual([]);
  });
  it("is proven and judged all the same, and says by what", () => {
    const t = report.targets[id]!;
    expect(t.exactness.map((e) => e.component)).toEqual(["text_encoder", "unet"]);
    for (const e of t.exactness) expect(e.error).toBeLessThan(1e-5);
    expect(t.fidelity!.sqnrWorst).toBeGreaterThan(50);
    expect(t.notes.join("\n")).toMatch(/unet: no CPU kernel for com\.microsoft:GroupNorm.*twin/);
    expect(t.notes.join("\n")).not.toMatch(/does not run|not verified|not proven/);
  });
  it("is judged by `verify` as its twin, which says so", async () => {
    const how = { effort: "quick", steps: 3, seeds: 1 } as const;
    const folder = join(out, id);
    const result = await verify(PIPELINE, folder, how);
    expect(result.twins).toEqual([
      { model: join(folder, "unet/model.onnx"), operators: ["com.microsoft:GroupNorm"] },
    ]);
    if (result.kind !== "trajectory") throw new Error("not sampled");
    expect(result.settings[0]!.sqnr.worst.sqnr).toBeGreaterThan(50);
    expect(renderVerification(result)).toMatch(
      /no CPU kernel for com\.microsoft:GroupNorm in .*unet\/model\.onnx: figures are those of a twin/,
    );
    const own = await verify(PIPELINE, PIPELINE, { ...how, steps: 1 });
    expect(own.twins).toEqual([]);
    expect(renderVerification(own)).not.toMatch(/twin/);
  }, 240_000);
  it("has a self-test that runs here as the twin", async () => {
    const build = JSON.parse(readFileSync(join(out, id, "build.json"), "utf8")) as BuildFile;
    const unet = build.components.find((c) => c.name === "unet")!;
    expect(unet.selfTest).toMatchObject({
      twin: ["com.microsoft:GroupNorm"],
      reference: expect.stringContaining("com.microsoft:GroupNorm in standard operators"),
    });
    const result = await selfTest(join(out, id));
    expect(result.passed, JSON.stringify(result)).toBe(true);
    expect(result.components.map((c) => c.twin)).toEqual([[], ["com.microsoft:GroupNorm"]]);
  });
});

describe("a build with 4-bit floats", () => {
  it("is corrected, judged and tested by what its weights say, without a kernel that reads them", async () => {
    const four = join(dir, "four");
    const { report } = await compile(PIPELINE, {
      out: four,
      recipe: {
        extends: "exact",
        calibration: { samples: 2, steps: 2 },
        verification: { samples: 1, steps: 2 },
        passes: ["clean", { "quantize-weights": { format: "f4" } }, { "correct-output": { minGain: 0 } }],
      },
      targets: ["tensorrt"],
    });
    const t = report.targets["tensorrt"]!;
    const decisions = t.passes.filter((p) => p.name === "correct-output").flatMap((p) => p.decisions);
    expect(decisions.map((d) => d.rule)).toContain("step");
    expect(decisions.map((d) => d.rule)).not.toContain("not-run");
    expect(t.fidelity!.sqnrMean).toBeGreaterThan(30);
    expect(t.notes.join("\n")).toMatch(/unet: no CPU kernel for DequantizeLinear of f4e2m1.*twin/);
    const result = await selfTest(join(four, "tensorrt"));
    expect(result.passed, JSON.stringify(result)).toBe(true);
  }, 120_000);
});
