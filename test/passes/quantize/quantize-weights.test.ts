import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { elementCount } from "../../../src/ir/dtype.ts";
import { floatAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor, type Tensor, tensorBytes } from "../../../src/ir/tensor.ts";
import { modelTensors } from "../../../src/ir/weights.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import type { Decision } from "../../../src/passes/pass.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import type { SessionOptions } from "../../../src/runtime/index.ts";
import { target, targets } from "../../../src/targets/index.ts";
import { run } from "../../targets/harness.ts";
import { difference, floats, ops, runtime, wave } from "../harness.ts";

/** Normal-looking weights whose rows have different sizes, as real ones do. */
function weight(dims: readonly number[], seed = 1): Tensor {
  const n = elementCount(dims);
  const row = n / dims[0]!;
  let s = seed;
  const next = (): number => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return s / 2 ** 32 - 0.5;
  };
  const gauss = (): number => next() + next() + next() + next();
  return f32Tensor(
    Float32Array.from({ length: n }, (_, i) => gauss() * (0.2 + Math.floor(i / row) / dims[0]!)),
    dims,
  );
}

interface Layered {
  readonly dims: readonly number[];
  make(b: ModelBuilder, x: ValueId): ValueId;
}

function modelOf({ dims, make }: Layered, opset = 21): Model {
  const b = new ModelBuilder({ opset });
  const x = b.input("x", "f32", [...dims]);
  return b.output(make(b, x), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const LAYERS = {
  MatMul: {
    dims: [6, 64],
    make: (b, x) => b.node("MatMul", [x, b.constant(weight([64, 48]))], {}, { name: "layer" }),
  },
  "MatMul with a ragged K": {
    dims: [6, 72],
    make: (b, x) => b.node("MatMul", [x, b.constant(weight([72, 32]))], {}, { name: "layer" }),
  },
  Gemm: {
    dims: [6, 64],
    make: (b, x) =>
      b.node("Gemm", [x, b.constant(weight([64, 48])), b.constant(weight([48]))], {}, { name: "layer" }),
  },
  "Gemm, transposed weight": {
    dims: [6, 64],
    make: (b, x) =>
      b.node(
        "Gemm",
        [x, b.constant(weight([48, 64])), b.constant(weight([48]))],
        { transB: 1 },
        { name: "layer" },
      ),
  },
  "Gemm with a factor": {
    dims: [6, 64],
    make: (b, x) =>
      b.node("Gemm", [x, b.constant(weight([64, 48]))], { alpha: floatAttr(0.5) }, { name: "layer" }),
  },
  Conv: {
    dims: [1, 32, 5, 5],
    make: (b, x) => b.node("Conv", [x, b.constant(weight([16, 32, 3, 3]))], {}, { name: "layer" }),
  },
  "Conv in groups": {
    dims: [1, 64, 5, 5],
    make: (b, x) => b.node("Conv", [x, b.constant(weight([64, 2, 3, 3]))], { group: 32 }, { name: "layer" }),
  },
  ConvTranspose: {
    dims: [1, 32, 5, 5],
    make: (b, x) => b.node("ConvTranspose", [x, b.constant(weight([32, 8, 3, 3]))], {}, { name: "layer" }),
  },
  "MatMul through a Transpose": {
    dims: [6, 64],
    make: (b, x) =>
      b.node(
        "MatMul",
        [x, b.node("Transpose", [b.constant(weight([48, 64]))], { perm: [1, 0] })],
        {},
        { name: "layer" },
      ),
  },
} as const satisfies Record<string, Layered>;

/** No guards: one layer is both first and last. */
const bare = { edges: "none", sensitive: "none" } as const;
const line = (all: readonly Decision[]): Decision => all.find((d) => d.node === "layer")!;

/** Same relation as the pass reports, on outputs. */
function sqnr(reference: Float32Array, candidate: Float32Array): number {
  let s = 0;
  let e = 0;
  for (const [i, r] of reference.entries()) {
    s += r * r;
    e += (r - candidate[i]!) ** 2;
  }
  return 10 * Math.log10(s / e);
}

async function output(
  model: Model,
  dims: readonly number[],
  options: Pick<SessionOptions, "optimize" | "arithmetic">,
): Promise<Float32Array> {
  const rt = await runtime();
  // Blocks behind DequantizeLinear would become MatMulNBits, whose arithmetic is in 8 bits unless told otherwise.
  const session = await rt.openSession(model, options);
  try {
    return floats((await session.run(new Map([["x", wave(dims)]]))).get("y")!);
  } finally {
    await session.release();
  }
}

const runnable = targets.filter((t) => t.formats.w8.gemm !== null);
type LayerName = keyof typeof LAYERS;
const grid = (Object.keys(LAYERS) as LayerName[]).flatMap((layer) =>
  runnable.flatMap((t) =>
    (["w8", "w4"] as const)
      .filter((format) => t.formats[format].gemm !== null)
      .map((format) => ({ layer, id: t.id, format })),
  ),
);

describe("quantize-weights", () => {
  it.each(grid)(
    "$format of $layer for $id: measured error as predicted, optimised as not",
    async ({ layer, id, format }) => {
      const c = LAYERS[layer];
      const model = modelOf(c);
      const before = cloneModel(model);
      const arithmetic = target(id).kind === "cpu" ? "fused" : "reference";
      const d = line(await run(model, quantizeWeights, { format, ...bare }, { target: target(id) }));
      await run(model, removeDead);
      expect(d).toMatchObject({ kind: "applied", from: "f32", to: format, error: { metric: "sqnr-db" } });
      expect(d.bytesAfter! / d.bytesBefore!).toBeLessThan(format === "w8" ? 0.34 : 0.2);

      const plain = await output(model, c.dims, { optimize: "disable", arithmetic });
      const reference = await output(before, c.dims, { optimize: "disable", arithmetic });
      // A linear layer passes on its weight's error, up to how its inputs correlate; 4 dB is ample for this input.
      expect(Math.abs(sqnr(reference, plain) - d.error!.value)).toBeLessThan(4);
      // Level 0 and folding keep fp32 arithmetic: what is left is the order of sums.
      expect(sqnr(plain, await output(model, c.dims, { optimize: "all", arithmetic }))).toBeGreaterThan(100);
      const floors = { w8: 40, w4: 17 };
      expect(d.error!.value).toBeGreaterThan(floors[format]);
    },
  );

  it("spells weights as the target's descriptor says", async () => {
    const spelled = async (layer: LayerName, id: string, format: "w8" | "w4"): Promise<string[]> => {
      const model = modelOf(LAYERS[layer]);
      await run(model, quantizeWeights, { format, symmetric: true, ...bare }, { target: target(id) });
      return ops(model);
    };
    expect(await spelled("MatMul", "cpu-x64", "w8")).toEqual(["Cast", "Mul", "MatMul"]);
    expect(await spelled("MatMul", "cpu-x64", "w4")).toEqual(["Cast", "com.microsoft:MatMulNBits"]);
    expect(await spelled("Gemm", "webgpu", "w8")).toEqual(["Cast", "com.microsoft:MatMulNBits", "Add"]);
    expect(await spelled("Conv", "cpu-x64", "w4")).toEqual(["Cast", "Cast", "Mul", "Reshape", "Conv"]);
    expect(await spelled("Gemm with a factor", "cpu-x64", "w4")).not.toContain("com.microsoft:MatMulNBits");
    const portable = modelOf(LAYERS.Conv);
    await run(portable, quantizeWeights, { format: "w8", ...bare });
    expect(ops(portable)).toEqual(["DequantizeLinear", "Conv"]);
  });

  it("reads a shared weight once, and leaves one alone that something reads as a float", async () => {
    const twice = (foreign: boolean): Model => {
      const b = new ModelBuilder({ opset: 21 });
      const x = b.input("x", "f32", [6, 64]);
      const w = b.constant(weight([64, 64]), "w");
      const y = b.node("MatMul", [b.node("MatMul", [x, w], {}, { name: "layer" }), w], {}, { name: "again" });
      const z = foreign ? b.node("Add", [y, b.node("ReduceMax", [w], { keepdims: 1 })]) : y;
      return b.output(z, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    };
    const model = twice(false);
    const d = line(await run(model, quantizeWeights, bare, { target: target("cpu-x64") }));
    expect(d.count).toBe(2);
    expect(ops(model).filter((o) => o === "Mul")).toHaveLength(1);
    const kept = twice(true);
    const decisions = await run(kept, quantizeWeights, bare, { target: target("cpu-x64") });
    expect(line(decisions)).toMatchObject({ kind: "skipped", rule: "shared-weight" });
    expect(ops(kept)).not.toContain("Cast");
  });

  it("selects by name and size, and refuses a broken pattern", async () => {
    const two = (): Model =>
      modelOf({
        dims: [6, 64],
        make: (b, x) => {
          const a = b.node("MatMul", [x, b.constant(weight([64, 64]))], {}, { name: "block.attn" });
          const f = b.node("MatMul", [a, b.constant(weight([64, 64], 2))], {}, { name: "block.ff" });
          return b.node("MatMul", [f, b.constant(weight([64, 4], 3))], {}, { name: "small" });
        },
      });
    const applied = async (options: object): Promise<string[]> =>
      (await run(two(), quantizeWeights, { ...bare, ...options }, { target: target("cpu-x64") }))
        .filter((d) => d.kind === "applied" && d.node !== "")
        .map((d) => d.node);
    expect(await applied({})).toEqual(["block.attn", "block.ff"]);
    expect(await applied({ match: "ff$" })).toEqual(["block.ff"]);
    expect(await applied({ exclude: "ff$" })).toEqual(["block.attn"]);
    expect(await applied({ minElements: 1 })).toEqual(["block.attn", "block.ff", "small"]);
    await expect(run(two(), quantizeWeights, { match: "(" })).rejects.toMatchObject({
      code: "OPTION_PATTERN_INVALID",
      diagnostic: { details: { option: "match", pattern: "(" } },
    });
  });

  it("searching the range lowers the error, and smaller blocks do", async () => {
    const error = async (options: object): Promise<number> =>
      line(
        await run(
          modelOf(LAYERS.MatMul),
          quantizeWeights,
          { format: "w4", symmetric: true, ...bare, ...options },
          { target: target("cpu-x64") },
        ),
      ).error!.value;
    const [none, mse, fine, shifted] = [
      await error({ search: "none" }),
      await error({ search: "mse" }),
      await error({ block: 16 }),
      await error({ symmetric: false }),
    ];
    expect(mse).toBeGreaterThan(none);
    expect(fine).toBeGreaterThan(mse);
    expect(shifted).toBeGreaterThan(mse);
  });

  it("falls back to fp16 where integer weights are not supported, and records it", async () => {
    for (const format of ["w8", "w4"] as const) {
      const model = modelOf(LAYERS.Gemm);
      const before = cloneModel(model);
      const [first] = await run(model, quantizeWeights, { format }, { target: target("qnn-htp") });
      expect(first).toMatchObject({
        kind: "downgraded",
        rule: "weight-format",
        from: format,
        to: "f16",
        why: expect.any(String),
      });
      expect(ops(model)).toEqual(["Cast", "Gemm", "Cast"]);
      expect(await difference(before, model, { x: wave([6, 64]) })).toBeLessThan(0.03);
    }
  });

  it("says on the CPU that w8 saves size only", async () => {
    const options = { edges: "none", sensitive: "none" } as const;
    const [first] = await run(modelOf(LAYERS.Gemm), quantizeWeights, options, { target: target("cpu-x64") });
    expect(first).toMatchObject({
      kind: "applied",
      rule: "weight-format",
      why: expect.stringMatching(/^1 weight in w8: a size format/),
    });
  });

  it("raises the opset for int4 constants", async () => {
    const model = modelOf(LAYERS.Conv, 17);
    await run(model, quantizeWeights, { format: "w4", ...bare }, { target: target("cpu-x64") });
    expect(model.opsets.get("")).toBe(21);
    expect([...modelTensors(model)].map((t) => t.dtype)).toContain("i4");
  });

  it("keeps names, types and order of inputs and outputs, and gives the same bytes every time", async () => {
    const rt = await runtime();
    const bytes: Uint8Array[] = [];
    for (let i = 0; i < 2; i++) {
      const model = modelOf(LAYERS.Conv);
      const names = [...model.graph.inputs, ...model.graph.outputs].map((id) => model.graph.value(id));
      await run(model, quantizeWeights, { format: "w4", ...bare }, { target: target("cpu-x64") });
      const after = [...model.graph.inputs, ...model.graph.outputs].map((id) => model.graph.value(id));
      expect(after.map((v) => [v.name, v.type])).toEqual(names.map((v) => [v.name, v.type]));
      bytes.push(await encodeModel(model, rt.reader));
    }
    expect(bytes[1]).toEqual(bytes[0]);
  });
});

describe("guards", () => {
  it("give edges half precision and sensitive layers 8 bits on the trained network", async () => {
    const { readModel } = await import("../../../src/ir/onnx/index.ts");
    const { fileURLToPath } = await import("node:url");
    const path = fileURLToPath(new URL("../../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));
    const model = await readModel(path);
    const options = { format: "w4", minElements: 512, score: false } as const;
    const decisions = await run(model, quantizeWeights, options, { target: target("cpu-x64") });
    const by = (rule: string): string[] =>
      decisions.filter((d) => d.rule === rule).map((d) => `${d.node.replace(/^\/net\//, "")} ${d.to}`);
    expect(by("guard-edge")).toEqual(["conv_in/Conv f16", "conv_out/Conv f16"]);
    expect(by("guard-time")).toEqual(["time_embedding/linear_1/Gemm w8", "time_embedding/linear_2/Gemm w8"]);
    expect(by("guard-sampler")).toHaveLength(4);
    expect(by("guard-shortcut")).toHaveLength(7);
    await run(model, removeDead);
    const weights = [...modelTensors(model)].reduce((n, t) => n + tensorBytes(t), 0);
    // 1.69 M parameters at little more than 4 bits, plus guards, norms and shape constants.
    expect(weights).toBeLessThan(1.2e6);
  });
});
