import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { renderVerification } from "../../cli/render/verification.ts";
import { type BuildFile, compile, type Report, readModel, selfTest, verify } from "../../src/index.ts";

const PIPELINE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-twins-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
/** Half-precision builds that differ in how sums are rounded differ by so much. */
const NOISE_DB = 1.5;
/** What half precision leaves of the worst step, every value rounded. */
const LEAST_DB = 48;
const out = join(dir, "build");
const IDS = ["cuda", "directml"];
/** Builds that run here as they are: attention written out, and as the standard operator. */
const PLAIN = ["tensorrt", "tensorrt:11.x"];
/** Feed-forwards of the fixture that become one operator: its widths have no CUDA kernel. */
const GATED = { cuda: 0, directml: 7 };
/** What each build has that the CPU provider does not run, in the order of the graph. */
const STRANGE = {
  cuda: ["com.microsoft:GroupNorm", "packed com.microsoft:MultiHeadAttention"],
  directml: [
    "com.microsoft:GroupNorm",
    "packed com.microsoft:MultiHeadAttention",
    "com.microsoft:BiasSplitGelu",
  ],
};
let report: Report;

beforeAll(async () => {
  const verification = { samples: 2, steps: 4 };
  ({ report } = await compile(PIPELINE, {
    out,
    recipe: { extends: "fp16", verification },
    targets: [...IDS, ...PLAIN],
  }));
}, 600_000);

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
  it("packs attention and gates feed-forwards in one operator where the kernels do", async () => {
    const model = await readModel(join(out, id, "unet/model.onnx"));
    const nodes = [...model.graph.nodes()];
    const attention = nodes.filter((n) => n.op === "MultiHeadAttention");
    expect(attention).toHaveLength(14);
    // Half of them are cross-attention, which keeps its query apart.
    expect(attention.filter((n) => (n.inputs[1] ?? null) === null)).toHaveLength(7);
    expect(attention.filter((n) => (n.inputs[2] ?? null) !== null)).toEqual([]);
    const gated = nodes.filter((n) => n.op === "BiasSplitGelu").length;
    expect(gated).toBe(GATED[id as keyof typeof GATED]);
  });
  it("is proven and judged all the same, and says by what", () => {
    const t = report.targets[id]!;
    expect(t.exactness.map((e) => e.component)).toEqual(["text_encoder", "unet"]);
    for (const e of t.exactness) expect(e.error).toBeLessThan(1e-5);
    expect(t.fidelity!.sqnrWorst).toBeGreaterThan(LEAST_DB);
    expect(t.notes.join("\n")).toMatch(/unet: no CPU kernel for com\.microsoft:GroupNorm, packed .*twin/);
    expect(t.notes.join("\n")).not.toMatch(/does not run|not verified|not proven/);
  });
  it("is judged by `verify` as its twin, which says so", async () => {
    const how = { effort: "quick", steps: 3, seeds: 1 } as const;
    const folder = join(out, id);
    const result = await verify(PIPELINE, folder, how);
    const operators = [
      "com.microsoft:GroupNorm",
      "packed com.microsoft:MultiHeadAttention",
      ...(GATED[id as keyof typeof GATED] > 0 ? ["com.microsoft:BiasSplitGelu"] : []),
    ];
    expect(result.twins).toEqual([{ model: join(folder, "unet/model.onnx"), operators }]);
    if (result.kind !== "trajectory") throw new Error("not sampled");
    expect(result.settings[0]!.sqnr.worst.sqnr).toBeGreaterThan(LEAST_DB);
    expect(renderVerification(result)).toMatch(
      /no CPU kernel for com\.microsoft:GroupNorm, packed .* in .*unet\/model\.onnx: figures are those of a twin/,
    );
    // The runtime's own fp16 is fp32 between the weights: kinder than what the build is for.
    const once = { ...how, steps: 1 };
    const [asWritten, asRun] = [
      await verify(PIPELINE, folder, once),
      await verify(PIPELINE, folder, { ...once, arithmetic: "fused" }),
    ];
    if (asWritten.kind !== "trajectory" || asRun.kind !== "trajectory") throw new Error("not sampled");
    expect(asRun.settings[0]!.sqnr.mean).toBeGreaterThan(asWritten.settings[0]!.sqnr.mean + 3);
    const own = await verify(PIPELINE, PIPELINE, once);
    expect(own.twins).toEqual([]);
    expect(renderVerification(own)).not.toMatch(/twin/);
  }, 240_000);
  it("has a self-test that runs here as the twin", async () => {
    const build = JSON.parse(readFileSync(join(out, id, "build.json"), "utf8")) as BuildFile;
    const unet = build.components.find((c) => c.name === "unet")!;
    expect(unet.selfTest).toMatchObject({
      twin: STRANGE[id as keyof typeof STRANGE],
      reference: expect.stringContaining("in standard operators"),
    });
    const result = await selfTest(join(out, id));
    expect(result.passed, JSON.stringify(result)).toBe(true);
    expect(result.components.map((c) => c.twin)).toEqual([[], STRANGE[id as keyof typeof STRANGE]]);
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
    expect(t.checks.flatMap((c) => c.findings).filter((f) => f.severity === "reject")).toEqual([]);
    expect(t.notes.join("\n")).toMatch(/unet: no CPU kernel for DequantizeLinear of f4e2m1.*twin/);
    const result = await selfTest(join(four, "tensorrt"));
    expect(result.passed, JSON.stringify(result)).toBe(true);
  }, 120_000);
});

describe("a build for an importer that knows the standard Attention", () => {
  const [WRITTEN, FUSED] = PLAIN as [string, string];
  const modelOf = (id: string) => readModel(join(out, id.replace(":", "-"), "unet/model.onnx"));

  it("has it behind split heads, in the opset it begins with, where others spell it out", async () => {
    const [written, fused] = [await modelOf(WRITTEN), await modelOf(FUSED)];
    const count = (m: typeof written, op: string) => [...m.graph.nodes()].filter((n) => n.op === op).length;
    expect([written.opsets.get(""), count(written, "Attention"), count(written, "Softmax")]).toEqual([
      21, 0, 14,
    ]);
    expect([fused.opsets.get(""), count(fused, "Attention"), count(fused, "Softmax")]).toEqual([23, 14, 0]);
    for (const c of report.targets[FUSED]!.checks)
      expect(c.findings.filter((f) => f.severity === "reject")).toEqual([]);
  });
  it("says the same as the one that spells it out, on real sessions", async () => {
    const [written, fused] = [report.targets[WRITTEN]!, report.targets[FUSED]!];
    expect(fused.notes.join("\n")).not.toMatch(/does not run|not verified|not proven|twin/);
    for (const e of fused.exactness) expect(e.error).toBeLessThan(1e-5);
    expect(fused.fidelity!.sqnrWorst).toBeGreaterThan(LEAST_DB);
    expect(Math.abs(fused.fidelity!.sqnrWorst - written.fidelity!.sqnrWorst)).toBeLessThan(NOISE_DB);
    const result = await selfTest(join(out, FUSED.replace(":", "-")));
    expect(result.passed, JSON.stringify(result)).toBe(true);
  });
});
