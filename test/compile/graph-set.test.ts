import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  compile,
  type Manifest,
  type Recipe,
  readModel,
  type Report,
  selfTest,
  verify,
} from "../../src/index.ts";

const PIPELINE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-graph-set-"));
const out = join(dir, "out");
const folder = join(out, "qnn-htp/unet");
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const RECIPE: Recipe = {
  extends: "exact",
  calibration: { steps: 4, samples: 1 },
  passes: ["clean", { "quantize-static": { bits: 8, time: "graphs", buckets: 2 } }],
};

let report: Report;
beforeAll(async () => {
  ({ report } = await compile(PIPELINE, {
    recipe: RECIPE,
    targets: ["qnn-htp"],
    out,
    verify: false,
  }));
});

describe("a build of one graph per bucket", () => {
  it("passes its self-test", async () => {
    const result = await selfTest(join(out, "qnn-htp"));
    expect(result.passed, JSON.stringify(result)).toBe(true);
    expect(result.components.flatMap((c) => c.outputs).map((o) => o.name)).toContain("out_sample");
  });

  it("is checked graph by graph, and what all of them have in common is told once", () => {
    const target = report.targets["qnn-htp"]!;
    const checks = target.checks.filter((c) => c.component === "unet");
    const leavesAccelerator = target.leavesAccelerator?.filter((n) => n.component === "unet");
    expect(checks.map((c) => [c.component, c.graph])).toEqual([
      ["unet", "model.b0.onnx"],
      ["unet", "model.b1.onnx"],
    ]);
    for (const c of checks) expect(c.verdicts.quantized).toBeGreaterThan(50);
    expect(checks[1]!.verdicts).toEqual(checks[0]!.verdicts);
    expect(leavesAccelerator).toHaveLength(checks[0]!.verdicts.leaves);
  });

  it("holds the graphs, their weights once, and says which serves when", async () => {
    expect(readdirSync(folder).sort()).toEqual([
      "config.json",
      "model.b0.onnx",
      "model.b1.onnx",
      "model.graphs.json",
      "model.onnx.data",
      "self-test.npz",
    ]);
    const manifest: Manifest = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8"));
    for (const f of manifest.files) {
      const bytes = readFileSync(join(out, f.path));
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      expect({ path: f.path, bytes: bytes.length, sha256 }).toEqual(f);
    }
    const set = manifest.graphs!["qnn-htp/unet/model.graphs.json"]!;
    expect(set).toEqual(JSON.parse(readFileSync(join(folder, "model.graphs.json"), "utf8")));
    expect(set.input).toBe("timestep");
    expect(set.graphs.map((g) => g.file)).toEqual(["model.b0.onnx", "model.b1.onnx"]);
    expect([set.graphs[0]!.from, set.graphs[1]!.until]).toEqual([null, null]);
    expect(set.graphs[0]!.until).toBe(set.graphs[1]!.from);
    const tensors = set.graphs.map((g) => manifest.models[`qnn-htp/unet/${g.file}`]!);
    // Nothing that is large lies in a graph of its own: only what the buckets are about differs.
    for (const list of tensors)
      for (const t of list) if (t.dtype === "i8" && t.bytes >= 1024) expect(t.location).not.toBe("inline");
    const stored = tensors[1]!.filter((t) => t.location !== "inline");
    expect(stored.length).toBeGreaterThan(50);
    for (const t of stored) expect(tensors[0]).toContainEqual(t);
    const differ = tensors[1]!.filter((t) => t.sha256 !== tensors[0]!.find((o) => o.name === t.name)?.sha256);
    expect(differ.length).toBeGreaterThan(20);
    for (const t of differ) expect(["f32", "i32"]).toContain(t.dtype);
    const component = report.targets["qnn-htp"]!.components.find((c) => c.name === "unet")!;
    expect(component.file).toBe("qnn-htp/unet/model.graphs.json");
    const files = manifest.files.filter((f) => f.path.startsWith("qnn-htp/unet/model"));
    expect(component.bytes.after).toBe(files.reduce((n, f) => n + f.bytes, 0));
  });

  it("has constants where it quantizes, one set per graph", async () => {
    const scales: string[] = [];
    for (const file of ["model.b0.onnx", "model.b1.onnx"]) {
      const { graph } = await readModel(join(folder, file));
      for (const n of graph.nodes())
        if (n.op === "QuantizeLinear")
          expect(n.inputs.slice(1).every((i) => graph.constant(i)?.dims.length === 0)).toBe(true);
      expect([...graph.nodes()].some((n) => n.name.startsWith("clock/"))).toBe(false);
      scales.push(JSON.stringify([...graph.nodes()].map((n) => n.op)));
    }
    expect(scales[1]).toBe(scales[0]);
  });

  it("is judged with the graph of each timestep: with the graphs exchanged it is worse", async () => {
    const mean = async (candidate: string): Promise<number> => {
      const how = { effort: "quick", seeds: 1, steps: 3 } as const;
      const result = await verify(PIPELINE, candidate, how);
      if (result.kind !== "trajectory") throw new Error("not sampled");
      return result.settings[0]!.sqnr.mean;
    };
    const path = join(folder, "model.graphs.json");
    const set = JSON.parse(readFileSync(path, "utf8"));
    const right = await mean(join(out, "qnn-htp"));
    const [low, high] = set.graphs;
    set.graphs = [
      { ...low, file: high.file },
      { ...high, file: low.file },
    ];
    writeFileSync(path, JSON.stringify(set));
    expect(right).toBeGreaterThan((await mean(path)) + 1);
  });
});
