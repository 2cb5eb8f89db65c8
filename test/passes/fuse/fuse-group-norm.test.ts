import { describe, expect, it } from "vitest";
import { createKit, type Kit } from "../../../fixtures/build/kit.ts";
import { attrInt, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { simplify } from "../../../src/passes/clean/simplify.ts";
import { convertFloat } from "../../../src/passes/convert/convert-float.ts";
import { fuseActivation } from "../../../src/passes/fuse/fuse-activation.ts";
import { type FuseGroupNormOptions, fuseGroupNorm } from "../../../src/passes/fuse/fuse-group-norm.ts";
import { spellOps } from "../../../src/passes/legalise/spell-ops.ts";
import { CPU_LIMITS } from "../../../src/targets/cpu-limits.ts";
import { target } from "../../../src/targets/index.ts";
import { legalisePlan } from "../../../src/targets/legalise.ts";
import { plainTwin } from "../../../src/targets/twin.ts";
import { run } from "../../targets/harness.ts";
import { difference, ops, wave } from "../harness.ts";

const GROUP_NORM = "com.microsoft:GroupNorm";
const CUDA = target("cuda");

/** Options legalisation gives the pass for a target: channels last alone, and either layout. */
const optionsFor = (id: string) =>
  legalisePlan(target(id)).find((s) => s.name === "fuse-group-norm")!
    .options as Partial<FuseGroupNormOptions>;
const [LAST, EITHER] = [optionsFor("cuda"), optionsFor("directml")];

function model(shape: (number | string)[], make: (k: Kit, x: ValueId) => ValueId, opset = 20): Model {
  const k = createKit({ name: "norms", opset }, 3);
  k.b.output(make(k, k.b.input("x", "f32", shape)), "y", tensorType("f32", null));
  return k.b.build();
}

const nodeOf = (m: Model) => [...m.graph.nodes()].find((n) => n.op === "GroupNorm")!;

async function fused(m: Model, options = LAST) {
  const decisions = await run(m, fuseGroupNorm, options);
  await run(m, removeDead);
  return decisions;
}

/** Largest difference between a model and the twin of what was made of it. */
async function drift(before: Model, after: Model, shape: number[]): Promise<number> {
  return await difference(before, plainTwin(after, CPU_LIMITS)!, { x: wave(shape) });
}

describe("com.microsoft.GroupNorm", () => {
  const block = () => model(["b", 8, 3, 5], (k, x) => k.silu(k.groupNorm("norm", x, 8, 2)));

  it("takes the SiLU behind it along, between Transposes where channels are last", async () => {
    const got = block();
    await fused(got);
    expect(ops(got)).toEqual(["Transpose", GROUP_NORM, "Transpose"]);
    expect(attrInt(nodeOf(got), "activation")).toBe(1);
    expect(attrInt(nodeOf(got), "channels_last")).toBe(1);
    expect(await drift(block(), got, [2, 8, 3, 5])).toBeLessThan(5e-6);
  });
  it("stands alone where the kernel takes channels first", async () => {
    const got = block();
    await fused(got, EITHER);
    expect(ops(got)).toEqual([GROUP_NORM]);
    expect(attrInt(nodeOf(got), "channels_last")).toBe(0);
    expect(await drift(block(), got, [2, 8, 3, 5])).toBeLessThan(5e-6);
  });
  it("takes a SiLU that is one operator already", async () => {
    const got = block();
    await run(got, fuseActivation, { spelling: "QuickGelu" });
    await run(got, removeDead);
    await fused(got, EITHER);
    expect(ops(got)).toEqual([GROUP_NORM]);
    expect(await drift(block(), got, [2, 8, 3, 5])).toBeLessThan(5e-6);
  });
  it("leaves a SiLU alone when the normalised value is read elsewhere, and other activations always", async () => {
    const make = () =>
      model([2, 8, 3, 3], (k, x) => {
        const y = k.groupNorm("norm", x, 8, 2);
        return k.b.node("Add", [k.silu(y), y]);
      });
    const shared = make();
    await fused(shared, EITHER);
    expect(ops(shared)).toEqual([GROUP_NORM, "Sigmoid", "Mul", "Add"]);
    expect(attrInt(nodeOf(shared), "activation")).toBe(0);
    expect(await drift(make(), shared, [2, 8, 3, 3])).toBeLessThan(5e-6);
    const relu = model([2, 8, 3, 3], (k, x) => k.b.node("Relu", [k.groupNorm("norm", x, 8, 2)]));
    await fused(relu, EITHER);
    expect(ops(relu)).toEqual([GROUP_NORM, "Relu"]);
    expect(attrInt(nodeOf(relu), "activation")).toBe(0);
  });
  it("reads sequences as images of width 1", async () => {
    const make = () => model([2, 8, 7], (k, x) => sequenceNorm(k, x));
    for (const to of [LAST, EITHER]) {
      const got = make();
      const decisions = await fused(got, to);
      expect(decisions.map((d) => d.kind)).toEqual(["applied"]);
      expect(ops(got)).toContain(GROUP_NORM);
      expect(await drift(make(), got, [2, 8, 7])).toBeLessThan(5e-6);
    }
  });
  it("reads the standard operator too", async () => {
    const make = () =>
      model(
        [2, 8, 3, 3],
        (k, x) =>
          k.silu(
            k.b.node("GroupNormalization", [x, k.f32("scale", [8], 1), k.f32("bias", [8], 1)], {
              num_groups: 4,
            }),
          ),
        21,
      );
    const got = make();
    await fused(got, EITHER);
    expect(ops(got)).toEqual([GROUP_NORM]);
    expect(await drift(make(), got, [2, 8, 3, 3])).toBeLessThan(5e-6);
  });
  it.each([
    { what: "odd numbers of channels per group", channels: 6, groups: 2, why: "even numbers" },
    { what: "groups too wide", channels: 1028, groups: 2, why: "up to 512" },
  ])("keeps the exporter's form for $what, with the reason", async ({ channels, groups, why }) => {
    const make = () => model([1, channels, 2, 2], (k, x) => k.groupNorm("norm", x, channels, groups));
    const got = make();
    const [d] = await fused(got);
    expect(d).toMatchObject({ kind: "skipped", why: expect.stringContaining(why) });
    expect(ops(got)).toEqual(ops(make()));
    // A standard operator the kernel does not take goes back to that form.
    const operator = model(
      [1, channels, 2, 2],
      (k, x) =>
        k.b.node("GroupNormalization", [x, k.f32("s", [channels]), k.f32("o", [channels])], {
          num_groups: groups,
        }),
      21,
    );
    await fused(operator);
    await run(operator, spellOps, {}, { target: CUDA });
    expect(ops(operator)).toContain("InstanceNormalization");
    const elsewhere = make();
    await fused(elsewhere, EITHER);
    expect(ops(elsewhere)).toContain(GROUP_NORM);
  });
  it("its Transpose meets that of a reader of tokens", async () => {
    const make = () =>
      model([2, 8, 3, 5], (k, x) =>
        k.b.node("Transpose", [k.groupNorm("n", x, 8, 2)], { perm: [0, 2, 3, 1] }),
      );
    const got = make();
    await fused(got);
    await run(got, simplify);
    await run(got, removeDead);
    expect(ops(got)).toEqual(["Transpose", GROUP_NORM]);
    expect(await drift(make(), got, [2, 8, 3, 5])).toBeLessThan(5e-6);
  });
  it("keeps gamma and beta in fp32 when everything else is fp16", async () => {
    const got = model([2, 8, 3, 3], (k, x) => k.conv("c", k.silu(k.groupNorm("norm", x, 8, 2)), 8, 8, 3));
    await fused(got);
    await run(got, convertFloat, { to: "f16" }, { target: CUDA, peaks: {} });
    const node = nodeOf(got);
    const types = node.inputs.map((i) => got.graph.constant(i!)?.dtype ?? null);
    expect(types).toEqual([null, "f32", "f32"]);
    const conv = [...got.graph.nodes()].find((n) => n.op === "Conv")!;
    expect(got.graph.constant(conv.inputs[1]!)?.dtype).toBe("f16");
    const casts = [...got.graph.nodes()].filter((n) => n.op === "Cast");
    expect(casts).toHaveLength(2);
  });
  it("becomes plain operators for a target without a kernel", async () => {
    const got = block();
    await fused(got);
    await run(got, spellOps, {}, { target: target("webgpu") });
    expect(ops(got)).not.toContain(GROUP_NORM);
    expect(await difference(block(), got, { x: wave([2, 8, 3, 5]) })).toBeLessThan(5e-6);
  });
});

/** A group normalisation over [N, C, L] as exporters write it. */
function sequenceNorm(k: Kit, x: ValueId): ValueId {
  const { b } = k;
  const grouped = b.node("Reshape", [x, k.i64([0, 2, -1])]);
  const ones = b.constant(f32Tensor([1, 1]));
  const normal = b.node("InstanceNormalization", [grouped, ones, b.constant(f32Tensor([0, 0]))]);
  const back = b.node("Reshape", [normal, b.node("Shape", [x])]);
  return b.node("Add", [b.node("Mul", [back, k.f32("w", [8, 1], 1)]), k.f32("o", [8, 1], 1)]);
}
