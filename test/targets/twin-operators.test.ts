import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { floatAttr, type Model, type ValueId } from "../../src/ir/graph.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { CPU_LIMITS } from "../../src/targets/cpu-limits.ts";
import { plainTwin, twinnedOperators } from "../../src/targets/twin.ts";
import { floats, ops, runtime, wave } from "../passes/harness.ts";

type Feeds = Readonly<Record<string, ReturnType<typeof wave>>>;

/** A model that is one contributed operator between fp32 ports; in half precision between Casts. */
function single(
  op: string,
  o: {
    readonly feeds: Feeds;
    readonly half: boolean;
    readonly opset?: number;
    readonly attrs?: Parameters<ModelBuilder["node"]>[2];
    readonly inputs: (b: ModelBuilder, data: Readonly<Record<string, ValueId>>) => (ValueId | null)[];
  },
): Model {
  const b = new ModelBuilder({ opset: o.opset ?? 20, domains: { "com.microsoft": 1 } });
  const data = Object.fromEntries(
    Object.entries(o.feeds).map(([name, { dims }]) => {
      const x = b.input(name, "f32", [...dims]);
      return [name, o.half ? b.node("Cast", [x], { to: 10 }) : x];
    }),
  );
  const y = b.node(op, o.inputs(b, data), o.attrs ?? {}, { domain: "com.microsoft" });
  const out = o.half ? b.node("Cast", [y], { to: 1 }) : y;
  return b.output(out, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

async function run(model: Model, feeds: Feeds): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize: "disable" });
  try {
    return floats((await session.run(new Map(Object.entries(feeds)))).get("y")!);
  } finally {
    await session.release();
  }
}

/** Numbers as half precision holds them. */
async function halved(x: ArrayLike<number>): Promise<Float32Array> {
  const tensor = castTensor(castTensor(f32Tensor(Float32Array.from(x)), "f16"), "f32");
  return new Float32Array((await (await runtime()).reader.read(tensor)).slice().buffer);
}

/** Inputs that survive a Cast to half precision, whether the runtime keeps it or not. */
async function rounded(x: ReturnType<typeof wave>, half: boolean): Promise<ReturnType<typeof wave>> {
  return half ? { ...x, bytes: new Uint8Array((await halved(floats(x))).buffer) } : x;
}

/** The error function by its series (Abramowitz and Stegun 7.1.5), for arguments of magnitude 4 and less. */
function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 100; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

describe("the twin of BiasSplitGelu", () => {
  const cases = fc.record({
    batch: fc.integer({ min: 1, max: 3 }),
    tokens: fc.integer({ min: 1, max: 5 }),
    inner: fc.integer({ min: 1, max: 9 }),
    half: fc.boolean(),
    opset: fc.constantFrom(12, 17, 20, 23),
    phase: fc.integer({ min: 0, max: 1000 }),
  });
  it("is the first half times the GELU of the second, a bias added to both, rounded once", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ batch, tokens, inner, half, opset, phase }) => {
        const x = await rounded(wave([batch, tokens, 2 * inner], phase), half);
        const bias = Float32Array.from({ length: 2 * inner }, (_, i) => Math.cos(i * 0.9) - 0.2);
        const model = single("BiasSplitGelu", {
          feeds: { x },
          half,
          opset,
          inputs: (b, data) => [
            data["x"]!,
            b.constant(castTensor(f32Tensor(bias), half ? "f16" : "f32"), "bias"),
          ],
        });
        const twin = plainTwin(model, CPU_LIMITS)!;
        expect(ops(twin)).not.toContain("com.microsoft:BiasSplitGelu");
        const added = half ? await halved(bias) : bias;
        // The CPU provider widens half precision and drops the roundings between operators, that of the sum too.
        const biased = Float32Array.from(floats(x), (v, i) => v + added[i % (2 * inner)]!);
        const got = await run(twin, { x });
        expect(got).toHaveLength(batch * tokens * inner);
        for (const [i, y] of got.entries()) {
          const at = Math.floor(i / inner) * 2 * inner + (i % inner);
          const gate = biased[at + inner]!;
          const want = biased[at]! * 0.5 * gate * (1 + erf(gate / Math.SQRT2));
          const rounding = half ? Math.abs(want) * 2 ** -11 + 2 ** -24 : 0;
          expect(Math.abs(y - want)).toBeLessThanOrEqual(rounding + 2e-6);
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe("the twin of NhwcConv", () => {
  const cases = fc.record({
    batch: fc.integer({ min: 1, max: 2 }),
    height: fc.integer({ min: 3, max: 6 }),
    width: fc.integer({ min: 3, max: 6 }),
    groups: fc.integer({ min: 1, max: 2 }),
    from: fc.integer({ min: 1, max: 3 }),
    to: fc.integer({ min: 1, max: 3 }),
    stride: fc.integer({ min: 1, max: 2 }),
    pad: fc.integer({ min: 0, max: 1 }),
    bias: fc.boolean(),
    stored: fc.boolean(),
  });
  it("reads images and weights with their channels last", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const [inputs, outputs] = [c.groups * c.from, c.groups * c.to];
        const x = wave([c.batch, c.height, c.width, inputs], 1);
        const w = wave([outputs, 3, 3, c.from], 2);
        const b = wave([outputs], 3);
        const model = single("NhwcConv", {
          feeds: c.stored ? { x } : { x, w },
          half: false,
          attrs: {
            kernel_shape: [3, 3],
            group: c.groups,
            strides: [c.stride, c.stride],
            pads: [c.pad, c.pad, c.pad, c.pad],
          },
          inputs: (m, data) => [
            data["x"]!,
            c.stored ? m.constant(f32Tensor(floats(w), w.dims), "w") : data["w"]!,
            ...(c.bias ? [m.constant(f32Tensor(floats(b)), "b")] : []),
          ],
        });
        const twin = plainTwin(model, CPU_LIMITS)!;
        expect(ops(twin)).toEqual(
          c.stored
            ? ["Transpose", "Conv", "Transpose", "Identity"]
            : ["Transpose", "Transpose", "Conv", "Transpose", "Identity"],
        );
        const got = await run(twin, c.stored ? { x } : { x, w });
        const [image, kernel, bias] = [floats(x), floats(w), floats(b)];
        const high = Math.floor((c.height + 2 * c.pad - 3) / c.stride) + 1;
        const wide = Math.floor((c.width + 2 * c.pad - 3) / c.stride) + 1;
        expect(got).toHaveLength(c.batch * high * wide * outputs);
        for (const [i, y] of got.entries()) {
          const m = i % outputs;
          const column = Math.floor(i / outputs) % wide;
          const row = Math.floor(i / outputs / wide) % high;
          const n = Math.floor(i / outputs / wide / high);
          let want = c.bias ? bias[m]! : 0;
          for (let r = 0; r < 3; r++)
            for (let s = 0; s < 3; s++) {
              const [h, v] = [row * c.stride + r - c.pad, column * c.stride + s - c.pad];
              if (h < 0 || v < 0 || h >= c.height || v >= c.width) continue;
              for (let k = 0; k < c.from; k++) {
                const channel = Math.floor(m / c.to) * c.from + k;
                const pixel = image[((n * c.height + h) * c.width + v) * inputs + channel]!;
                want += pixel * kernel[((m * 3 + r) * 3 + s) * c.from + k]!;
              }
            }
          expect(Math.abs(y - want)).toBeLessThan(1e-5);
        }
      }),
      { numRuns: 30 },
    );
  });
});

interface Attention {
  readonly batch: number;
  readonly heads: number;
  readonly size: number;
  readonly queries: number;
  readonly keys: number;
  readonly scale: number | null;
  readonly mask: boolean;
}

/** softmax(scale · q·kᵀ + mask)·v in double precision; readers give element (batch, token, head, channel). */
function attended(
  c: Attention,
  read: Readonly<Record<"q" | "k" | "v", (b: number, t: number, h: number, d: number) => number>>,
  mask: Float32Array | null,
): Float64Array {
  const out = new Float64Array(c.batch * c.queries * c.heads * c.size);
  const scale = c.scale ?? 1 / Math.sqrt(c.size);
  for (let b = 0; b < c.batch; b++)
    for (let h = 0; h < c.heads; h++)
      for (let s = 0; s < c.queries; s++) {
        const scores = Array.from({ length: c.keys }, (_, l) => {
          let dot = 0;
          for (let d = 0; d < c.size; d++) dot += read.q(b, s, h, d) * read.k(b, l, h, d);
          return scale * dot + (mask === null ? 0 : mask[(h * c.queries + s) * c.keys + l]!);
        });
        const top = Math.max(...scores);
        const weights = scores.map((v) => Math.exp(v - top));
        const sum = weights.reduce((x, y) => x + y, 0);
        for (let d = 0; d < c.size; d++) {
          const mixed = weights.reduce((acc, w, l) => acc + w * read.v(b, l, h, d), 0) / sum;
          out[((b * c.queries + s) * c.heads + h) * c.size + d] = mixed;
        }
      }
  return out;
}

describe("the twin of packed MultiHeadAttention", () => {
  const cases = fc.record({
    batch: fc.integer({ min: 1, max: 2 }),
    heads: fc.integer({ min: 1, max: 3 }),
    size: fc.integer({ min: 1, max: 5 }),
    queries: fc.integer({ min: 1, max: 5 }),
    other: fc.integer({ min: 1, max: 4 }),
    scale: fc.constantFrom(null, 0.5),
    mask: fc.boolean(),
    self: fc.boolean(),
    phase: fc.integer({ min: 0, max: 1000 }),
  });
  const reader =
    (x: Float32Array, c: Attention, tokens: number, count: number, index: number) =>
    (b: number, t: number, h: number, d: number): number =>
      x[(((b * tokens + t) * c.heads + h) * count + index) * c.size + d]!;

  it("is the attention of queries, keys and values that lie head by head in one tensor", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ self, other, phase, ...rest }) => {
        const c: Attention = { ...rest, keys: self ? rest.queries : other };
        const feeds: Feeds = self
          ? { qkv: wave([c.batch, c.queries, c.heads, 3, c.size], phase) }
          : {
              q: wave([c.batch, c.queries, c.heads * c.size], phase),
              kv: wave([c.batch, c.keys, c.heads, 2, c.size], phase + 1),
            };
        const mask = c.mask ? floats(wave([1, c.heads, c.queries, c.keys], 5)) : null;
        const model = single("MultiHeadAttention", {
          feeds,
          half: false,
          attrs: { num_heads: c.heads, ...(c.scale !== null && { scale: floatAttr(c.scale) }) },
          inputs: (b, data) => {
            const bias =
              mask === null ? [] : [b.constant(f32Tensor(mask, [1, c.heads, c.queries, c.keys]), "mask")];
            const inputs = self ? [data["qkv"]!] : [data["q"]!, data["kv"]!];
            return mask === null ? inputs : [...inputs, ...Array(5 - inputs.length).fill(null), ...bias];
          },
        });
        expect([...twinnedOperators(model, CPU_LIMITS)]).toEqual([
          ["packed com.microsoft:MultiHeadAttention", 1],
        ]);
        const got = await run(plainTwin(model, CPU_LIMITS)!, feeds);
        const x = (name: string): Float32Array => floats(feeds[name]!);
        const read = self
          ? {
              q: reader(x("qkv"), c, c.queries, 3, 0),
              k: reader(x("qkv"), c, c.queries, 3, 1),
              v: reader(x("qkv"), c, c.queries, 3, 2),
            }
          : {
              q: reader(x("q"), c, c.queries, 1, 0),
              k: reader(x("kv"), c, c.keys, 2, 0),
              v: reader(x("kv"), c, c.keys, 2, 1),
            };
        const want = attended(c, read, mask);
        expect(got).toHaveLength(want.length);
        for (const [i, v] of want.entries()) expect(Math.abs(got[i]! - v)).toBeLessThan(5e-6);
      }),
      { numRuns: 40 },
    );
  });
  it("is needed: kernels here refuse packed tensors when they run, and only those", async () => {
    const feeds = { qkv: wave([1, 4, 2, 3, 8]) };
    const packed = single("MultiHeadAttention", {
      feeds,
      half: false,
      attrs: { num_heads: 2 },
      inputs: (_, data) => [data["qkv"]!],
    });
    await expect(run(packed, feeds)).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
    const x = wave([1, 4, 16]);
    const apart = single("MultiHeadAttention", {
      feeds: { x },
      half: false,
      attrs: { num_heads: 2 },
      inputs: (_, data) => [data["x"]!, data["x"]!, data["x"]!],
    });
    expect(plainTwin(apart, CPU_LIMITS)).toBeNull();
    expect(await run(apart, { x })).toHaveLength(64);
  });
});
