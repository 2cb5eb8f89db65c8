import { describe, expect, it } from "vitest";
import { createKit, type Kit } from "../../../fixtures/build/kit.ts";
import { floatAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { simplify } from "../../../src/passes/clean/simplify.ts";
import { convertFloat } from "../../../src/passes/convert/convert-float.ts";
import { packAttention } from "../../../src/passes/fuse/pack-attention.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { CPU_LIMITS } from "../../../src/targets/cpu-limits.ts";
import { target } from "../../../src/targets/index.ts";
import { finishPlan } from "../../../src/targets/legalise.ts";
import { plainTwin } from "../../../src/targets/twin.ts";
import { run } from "../../targets/harness.ts";
import { difference, ops, wave } from "../harness.ts";

const MHA = "com.microsoft:MultiHeadAttention";
const WIDTH = 32;
const HEADS = 4;

interface Form {
  readonly cross?: boolean;
  /** Projections with a bias. */
  readonly biases?: readonly string[];
  readonly mask?: boolean;
  /** Makes one of the projections another way. */
  readonly key?: (k: Kit, x: ValueId) => ValueId;
  /** Reads the keys a second time. */
  readonly alsoRead?: boolean;
}

const project = (k: Kit, name: string, x: ValueId, bias: boolean): ValueId =>
  bias
    ? k.linear(name, x, WIDTH, WIDTH)
    : k.b.node("MatMul", [x, k.f32(`${name}.weight`, [WIDTH, WIDTH])], {}, { name });

function attention(form: Form = {}): Model {
  const k = createKit({ name: "attention", opset: 20, domains: { "com.microsoft": 1 } }, 5);
  const { b } = k;
  const x = b.input("x", "f32", ["b", 6, WIDTH]);
  const context = form.cross ? b.input("context", "f32", ["b", 5, WIDTH]) : x;
  const has = (name: string): boolean => form.biases?.includes(name) ?? true;
  const q = project(k, "q", x, has("q"));
  const key = form.key?.(k, context) ?? project(k, "k", context, has("k"));
  const v = project(k, "v", context, has("v"));
  const mask = form.mask ? [null, null, k.f32("mask", [1, HEADS, 6, form.cross ? 5 : 6])] : [];
  const y = b.node(
    "MultiHeadAttention",
    [q, key, v, ...mask],
    { num_heads: HEADS, scale: floatAttr(0.3) },
    { domain: "com.microsoft", name: "attn" },
  );
  b.output(y, "y", tensorType("f32", null));
  if (form.alsoRead) b.output(b.node("Relu", [key]), "z", tensorType("f32", null));
  return b.build();
}

async function packed(m: Model, options: { types?: ("f32" | "f16")[] | null } = {}) {
  const decisions = await run(m, packAttention, options);
  await run(m, removeDead);
  return decisions;
}

const feeds = (form: Form) => ({
  x: wave([2, 6, WIDTH], 1),
  ...(form.cross && { context: wave([2, 5, WIDTH], 2) }),
});
const drift = (form: Form, before: Model, after: Model): Promise<number> =>
  difference(before, plainTwin(after, CPU_LIMITS)!, feeds(form));

const nodeOf = (m: Model) => [...m.graph.nodes()].find((n) => n.op === "MultiHeadAttention")!;

describe("pack-attention", () => {
  it.each<{ what: string; form: Form }>([
    { what: "self-attention", form: {} },
    { what: "self-attention without biases", form: { biases: [] } },
    { what: "self-attention with some biases", form: { biases: ["q", "v"] } },
    { what: "self-attention with a mask", form: { mask: true } },
  ])("makes all three of $what in one product", async ({ form }) => {
    const got = attention(form);
    expect(await packed(got)).toMatchObject([{ kind: "applied", to: "qkv", count: 1 }]);
    const bias = form.biases?.length === 0 ? [] : ["Add"];
    expect(ops(got)).toEqual(["MatMul", ...bias, "Reshape", MHA]);
    const node = nodeOf(got);
    expect(node.inputs.map((i) => i !== null)).toEqual(
      form.mask ? [true, false, false, false, false, true] : [true],
    );
    expect(await drift(form, attention(form), got)).toBeLessThan(2e-6);
  });
  it.each<{ what: string; form: Form }>([
    { what: "cross-attention", form: { cross: true } },
    { what: "cross-attention with a mask", form: { cross: true, mask: true } },
    { what: "cross-attention without biases", form: { cross: true, biases: ["q"] } },
  ])("makes keys and values of $what in one product", async ({ form }) => {
    const got = attention(form);
    expect(await packed(got)).toMatchObject([{ kind: "applied", to: "kv", count: 1 }]);
    expect(ops(got).filter((o) => o === "MatMul")).toHaveLength(2);
    expect(
      nodeOf(got)
        .inputs.slice(0, 3)
        .map((i) => i !== null && i !== undefined),
    ).toEqual([true, true, ...(form.mask ? [false] : [])]);
    expect(await drift(form, attention(form), got)).toBeLessThan(2e-6);
  });
  it("packs half precision after weights have their type, for targets whose kernels gain by it", async () => {
    const options = finishPlan(target("cuda")).find((s) => s.name === "pack-attention")!.options;
    expect(options).toEqual({ types: ["f16"] });
    expect(finishPlan(target("tensorrt")).map((s) => s.name)).not.toContain("pack-attention");
    const wide = attention();
    const [d] = await packed(wide, { types: ["f16"] });
    expect(d).toMatchObject({ kind: "skipped", why: expect.stringContaining("computes in f32") });
    expect(ops(wide)).toEqual(ops(attention()));
    const got = attention();
    await run(got, convertFloat, { to: "f16" }, { target: target("cuda") });
    const before = ops(got).length;
    expect(await packed(got, { types: ["f16"] })).toMatchObject([{ kind: "applied", to: "qkv" }]);
    expect(ops(got)).toHaveLength(before - 3);
    expect(await drift({}, attention(), got)).toBeLessThan(2e-3);
  });
  it.each(["w8", "w4"] as const)(
    "merges rows of %s weights that are packed for MatMulNBits",
    async (format) => {
      const make = async (): Promise<Model> => {
        const m = attention();
        await run(m, quantizeWeights, { format, edges: "none", minElements: 1 }, { target: target("cuda") });
        await run(m, removeDead);
        return m;
      };
      const got = await make();
      expect(ops(got).filter((o) => o === "com.microsoft:MatMulNBits")).toHaveLength(3);
      expect(await packed(got)).toMatchObject([{ kind: "applied", to: "qkv" }]);
      expect(ops(got).filter((o) => o === "com.microsoft:MatMulNBits")).toHaveLength(1);
      expect(await drift({}, await make(), got)).toBeLessThan(5e-6);
    },
  );
  it("leaves weights alone that are computed when the model is loaded", async () => {
    const got = attention();
    await run(
      got,
      quantizeWeights,
      { format: "w8", edges: "none", minElements: 1 },
      { target: target("migraphx") },
    );
    const [d] = await packed(got);
    expect(d).toMatchObject({ kind: "skipped", why: expect.stringContaining("its weight is computed") });
  });
  it("leaves keys and values of different formats alone", async () => {
    const form: Form = {
      key: (k, x) =>
        k.b.node("MatMul", [x, k.b.node("Cast", [k.f32("k.weight", [WIDTH, WIDTH])], { to: 1 })]),
    };
    const cast = attention(form);
    // A Cast of a constant is read through: the stored weight and the type it is read in agree.
    expect(await packed(cast)).toMatchObject([{ kind: "applied", to: "qkv" }]);
    const slim: Form = { key: (k, x) => project(k, "k", k.b.node("Relu", [x]), true) };
    const [d] = await packed(attention(slim));
    expect(d).toMatchObject({ kind: "skipped", why: expect.stringContaining("they read different values") });
  });
  it.each<{ what: string; form: Form; why: string }>([
    { what: "keys that are read elsewhere", form: { alsoRead: true }, why: "read elsewhere" },
    {
      what: "keys that no product makes",
      form: { key: (k, x) => k.b.node("Relu", [x]) },
      why: "made by Relu",
    },
    {
      what: "keys with something computed behind them",
      form: { key: (k, x) => k.b.node("Add", [project(k, "k", x, false), x]) },
      why: "what is added behind it is computed",
    },
  ])("leaves $what alone, with the reason", async ({ form, why }) => {
    const got = attention(form);
    const [d] = await packed(got);
    expect(d).toMatchObject({ node: "attn", kind: "skipped", why: expect.stringContaining(why) });
    expect(ops(got)).toEqual(ops(attention(form)));
  });
  it("leaves what it packed alone", async () => {
    const got = attention();
    await packed(got);
    await run(got, simplify);
    const before = ops(got);
    expect(await packed(got)).toEqual([]);
    expect(ops(got)).toEqual(before);
  });
});
