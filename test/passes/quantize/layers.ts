import { denseFrom } from "../../../src/calibrate/dense.ts";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { createRng, gaussian } from "../../../src/numeric/rng.ts";
import type { Decision } from "../../../src/passes/pass.ts";
import { allocateBits } from "../../../src/passes/quantize/allocate-bits.ts";
import type { Target } from "../../../src/targets/target.ts";
import { recordOracle } from "../../calibrate/oracle.ts";
import { run } from "../../targets/harness.ts";
import { runtime } from "../harness.ts";

const [WIDTH, WIDE, SIDE] = [64, 512, 4];
/** Samples of every recorded call. */
export const BATCH = 8;
/** How loudly each layer speaks in the output. */
const LOUD = [1, 0.01, 10, 0.1];
/** Names of the layers. */
const NAMES = LOUD.map((_, i) => `layer${i}`);

/** A denoiser whose output is a sum of wide layers of very different weight; one reads its weight turned. */
export function toy(): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("sample", "f32", ["batch", WIDTH, SIDE, SIDE]);
  b.input("timestep", "i64", [1]);
  const flat = b.node("Reshape", [x, b.constant(i64Tensor([0, WIDTH, SIDE * SIDE]))]);
  const mixed = b.node("Tanh", [b.node("Transpose", [flat], { perm: [0, 2, 1] })]);
  let sum: ValueId | null = null;
  for (const [i, loud] of LOUD.entries()) {
    const w = f32Tensor(gaussian(createRng(2, "w", i), WIDTH * WIDE), [WIDTH, WIDE]);
    const y = b.node("MatMul", [mixed, b.constant(w, `w${i}`)], {}, { name: NAMES[i]! });
    const biased = b.node("Add", [y, b.constant(f32Tensor(gaussian(createRng(3, i), WIDE), [WIDE]))]);
    const parts = b.node("Reshape", [
      b.node("Sin", [biased]),
      b.constant(i64Tensor([0, SIDE * SIDE, WIDE / WIDTH, WIDTH])),
    ]);
    const small = b.node("ReduceSum", [parts, b.constant(i64Tensor([2]))], { keepdims: 0 });
    const scaled = b.node("Mul", [small, b.constant(f32Tensor([loud], []))]);
    sum = sum === null ? scaled : b.node("Add", [sum, scaled]);
  }
  const back = b.node("Transpose", [sum!], { perm: [0, 2, 1] });
  const out = b.node("Reshape", [back, b.constant(i64Tensor([0, WIDTH, SIDE, SIDE]))]);
  return b
    .output(out, "out_sample", { kind: "tensor", dtype: "f32", shape: ["batch", WIDTH, SIDE, SIDE] })
    .build();
}

/** Calls of the denoiser itself. */
export async function recorded(): Promise<Oracle> {
  const calls = [999, 500, 20].map((timestep) => ({
    timestep,
    weight: 1,
    feeds: new Map([
      [
        "sample",
        denseFrom(
          "f32",
          [BATCH, WIDTH, SIDE, SIDE],
          gaussian(createRng(4, timestep), BATCH * WIDTH * SIDE * SIDE),
        ),
      ],
      ["timestep", denseFrom("i64", [1], [timestep])],
    ]),
  }));
  return await recordOracle({
    model: toy(),
    runtime: await runtime(),
    calls,
    output: "out_sample",
    guidance: 1,
    halves: 1,
  });
}

type Options = Partial<Parameters<typeof allocateBits.run>[1]>;

/** The denoiser with its bits allocated for a target, what was decided, and the format of every layer. */
export async function allocated(
  options: Options,
  at: { readonly target: Target | null; readonly oracle: Oracle },
): Promise<{ model: Model; decisions: readonly Decision[]; lines: Decision[]; formats: string[] }> {
  const model = toy();
  const decisions = await run(
    model,
    allocateBits,
    { formats: ["w8", "a8w8"], guards: false, refine: 4, calls: 3, seeds: BATCH, ...options },
    at,
  );
  const lines = decisions.filter((d) => NAMES.includes(d.node) && d.rule.startsWith("allocate"));
  return { model, decisions, lines, formats: lines.map((d) => d.to!) };
}
