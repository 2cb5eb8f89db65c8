import { floats } from "../../src/calibrate/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { f32Tensor, type Tensor } from "../../src/ir/tensor.ts";
import type { Runtime, SessionOptions } from "../../src/runtime/index.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { seededInputs } from "../../src/verify/index.ts";
import { sqnr } from "../../src/verify/metrics/sqnr.ts";

/** One operator on the provider against the CPU provider. */
export interface OperatorRow {
  readonly name: string;
  readonly dtype: "f32" | "f16";
  readonly db: number;
  /** What the descriptor of the target claims: at least, or for a kernel that is known to be off, less than. */
  readonly claim: { readonly atLeast: number } | { readonly below: number };
}

type DTypeName = OperatorRow["dtype"];

/** Constants in the type of the operator. */
type Weights = (dims: readonly number[], of?: (i: number) => number) => ValueId;

interface Operator {
  readonly name: string;
  readonly input: readonly number[];
  readonly claims: Partial<Record<DTypeName, OperatorRow["claim"]>>;
  build(b: ModelBuilder, x: ValueId, w: Weights): ValueId;
}

const CONTRIB = { domain: "com.microsoft" };
const attention = (b: ModelBuilder, x: ValueId): ValueId =>
  b.node("MultiHeadAttention", [x, x, x], { num_heads: 4 }, CONTRIB);

/** What the target spells norms, activations and products with, and the spelling of attention it avoids. */
const OPERATORS: readonly Operator[] = [
  {
    name: "Conv 3×3, 64 channels",
    input: [2, 64, 16, 16],
    claims: { f32: { atLeast: 110 }, f16: { atLeast: 48 } },
    build: (b, x, w) => b.node("Conv", [x, w([64, 64, 3, 3])], { pads: [1, 1, 1, 1] }),
  },
  {
    name: "MatMul over 512",
    input: [2, 64, 512],
    claims: { f32: { atLeast: 110 }, f16: { atLeast: 48 } },
    build: (b, x, w) => b.node("MatMul", [x, w([512, 128])]),
  },
  {
    name: "InstanceNormalization",
    input: [2, 8, 2048],
    claims: { f32: { atLeast: 110 }, f16: { atLeast: 65 } },
    build: (b, x, w) => b.node("InstanceNormalization", [x, w([8], () => 1), w([8], () => 0)]),
  },
  {
    name: "LayerNormalization",
    input: [2, 64, 64],
    claims: { f32: { atLeast: 110 }, f16: { atLeast: 65 } },
    build: (b, x, w) => b.node("LayerNormalization", [x, w([64], () => 1), w([64], () => 0)]),
  },
  {
    name: "Gelu",
    input: [2, 64, 64],
    claims: { f32: { atLeast: 110 }, f16: { atLeast: 60 } },
    build: (b, x) => b.node("Gelu", [x]),
  },
  {
    name: "Sigmoid and Mul",
    input: [2, 64, 64],
    claims: { f32: { atLeast: 110 }, f16: { atLeast: 60 } },
    build: (b, x) => b.node("Mul", [x, b.node("Sigmoid", [x])]),
  },
  {
    name: "Softmax",
    input: [2, 64, 64],
    claims: { f32: { atLeast: 110 }, f16: { atLeast: 60 } },
    build: (b, x) => b.node("Softmax", [x]),
  },
  {
    name: "MultiHeadAttention, 16 queries",
    input: [2, 16, 64],
    claims: { f32: { atLeast: 110 } },
    build: attention,
  },
  {
    name: "MultiHeadAttention, 64 queries",
    input: [2, 64, 64],
    claims: { f32: { below: 50 }, f16: { below: 50 } },
    build: attention,
  },
];

function weight(dtype: DTypeName, dims: readonly number[], of: (i: number) => number): Tensor {
  const count = dims.reduce((n, d) => n * d, 1);
  const wide = f32Tensor(
    Float32Array.from({ length: count }, (_, i) => of(i)),
    [...dims],
  );
  return dtype === "f16" ? castTensor(wide, "f16") : wide;
}

/** The operator between Casts, so that inputs and outputs are fp32 in both types. */
function modelOf(o: Operator, dtype: DTypeName): Model {
  const b = new ModelBuilder({ opset: 21, domains: { "com.microsoft": 1 } });
  const input = b.input("x", "f32", [...o.input]);
  const w: Weights = (dims, of = (i) => Math.sin(i * 0.37)) => b.constant(weight(dtype, dims, of));
  const half = dtype === "f16";
  const made = o.build(b, half ? b.node("Cast", [input], { to: 10 }) : input, w);
  const out = half ? b.node("Cast", [made], { to: 1 }) : made;
  return b.output(out, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

/** Runs every operator in the types claims are made for. */
export async function* operatorRows(runtime: Runtime, gpu: SessionOptions): AsyncGenerator<OperatorRow> {
  const run = async (model: Model, how: SessionOptions): Promise<Float32Array> => {
    const session = await runtime.openSession(model, how);
    try {
      return floats((await session.run(seededInputs(session.inputs))).get("y")!);
    } finally {
      await session.release();
    }
  };
  for (const o of OPERATORS)
    for (const dtype of ["f32", "f16"] as const) {
      const claim = o.claims[dtype];
      if (claim === undefined) continue;
      const model = modelOf(o, dtype);
      yield { name: o.name, dtype, db: sqnr(await run(model, {}), await run(model, gpu)), claim };
    }
}
