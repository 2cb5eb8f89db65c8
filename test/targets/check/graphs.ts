import { type AttrInput, ModelBuilder } from "../../../src/ir/build.ts";
import { byteLength, type DType, elementCount } from "../../../src/ir/dtype.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, inlineTensor, type Tensor } from "../../../src/ir/tensor.ts";
import type { Shape } from "../../../src/ir/types.ts";

/** Grid of a conversion. */
export interface Grid {
  readonly scale?: number;
  readonly zero?: number;
  readonly type?: DType;
  readonly domain?: string;
}

/** A small graph being built, with the ways rules are provoked. */
export class Mini extends ModelBuilder {
  constructor(opset: number, irVersion?: number) {
    super({ opset, domains: { "com.microsoft": 1 }, ...(irVersion !== undefined && { irVersion }) });
  }
  /** A graph input called `x`. */
  x(shape: Shape, type: DType = "f32"): ValueId {
    return this.input("x", type, shape);
  }
  /** An integer constant, by element. */
  int(
    type: "u8" | "i8" | "u16" | "i16" | "i32",
    dims: readonly number[],
    at: (i: number) => number,
  ): ValueId {
    const width = byteLength(type, 1);
    const bytes = new Uint8Array(elementCount(dims) * width);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < elementCount(dims); i++) {
      if (width === 1) view.setInt8(i, at(i));
      else if (width === 2) view.setInt16(2 * i, at(i), true);
      else view.setInt32(4 * i, at(i), true);
    }
    return this.constant(inlineTensor(type, dims, bytes), "q");
  }
  /** A constant of a packed or narrow type with one byte repeated. */
  raw(type: DType, dims: readonly number[], byte: number): ValueId {
    const bytes = new Uint8Array(byteLength(type, elementCount(dims))).fill(byte);
    return this.constant(inlineTensor(type, dims, bytes), "raw");
  }
  /** A float constant, by element. */
  floats(dims: readonly number[], at: (i: number) => number = (i) => Math.sin(i + 1)): ValueId {
    return this.constant(
      f32Tensor(
        Float32Array.from({ length: elementCount(dims) }, (_, i) => at(i)),
        dims,
      ),
      "f",
    );
  }
  longs(values: readonly number[]): ValueId {
    return this.constant(i64Tensor(values), "i");
  }
  tensor(tensor: Tensor): ValueId {
    return this.constant(tensor, "t");
  }
  #grid(g: Grid): ValueId[] {
    const type = (g.type ?? "u8") as "u8";
    return [
      this.floats([], () => g.scale ?? 0.02),
      this.int(type, [], () => g.zero ?? (type === "u8" ? 128 : 0)),
    ];
  }
  /** QuantizeLinear, then DequantizeLinear. */
  pair(x: ValueId, g: Grid = {}, attrs: Readonly<Record<string, AttrInput>> = {}): ValueId {
    const options = { domain: g.domain ?? "" };
    const grid = this.#grid(g);
    return this.node(
      "DequantizeLinear",
      [this.node("QuantizeLinear", [x, ...grid], attrs, options), ...grid],
      {},
      options,
    );
  }
  /** A weight of signed integers behind DequantizeLinear, a wave of the given amplitude. */
  weight(dims: readonly number[], o: { readonly most?: number; readonly scale?: number } = {}): ValueId {
    const most = o.most ?? 60;
    const q = this.int("i8", dims, (i) => Math.round(most * Math.sin(i * 1.3)));
    return this.node("DequantizeLinear", [
      q,
      this.floats([], () => o.scale ?? 0.01),
      this.int("i8", [], () => 0),
    ]);
  }
  /** A weight in blocks of 16 along an axis, 4 bits. */
  blocks(dims: readonly number[], axis: number, block = 16): ValueId {
    const scales = dims.map((d, i) => (i === axis ? d / block : d));
    return this.node(
      "DequantizeLinear",
      [this.raw("i4", dims, 0x5b), this.floats(scales, (i) => 0.05 + 0.01 * (i % 3))],
      {
        axis,
        block_size: block,
      },
    );
  }
  contrib(
    op: string,
    inputs: readonly (ValueId | null)[],
    attrs: Readonly<Record<string, AttrInput>> = {},
    name = op,
  ): ValueId {
    return this.node(op, inputs, attrs, { domain: "com.microsoft", name });
  }
  /** MatMulNBits with constant weights. */
  nbits(
    x: ValueId,
    o: {
      k: number;
      n: number;
      bits?: number;
      block?: number;
      zero?: "u8" | "f32";
      bias?: boolean;
      level?: number;
    },
  ): ValueId {
    const { k, n, bits = 4, block = 32, zero, bias } = o;
    const blocks = Math.ceil(k / block);
    const w = this.raw("u8", [n, blocks, (block * bits) / 8], 0x79);
    const zeros = Math.ceil((blocks * bits) / 8);
    const z =
      zero === "f32"
        ? this.floats([n * blocks], () => 8)
        : zero === "u8"
          ? this.raw("u8", [n * zeros], 0x88)
          : null;
    const inputs = [
      x,
      w,
      this.floats([n * blocks], (i) => 0.02 + 0.001 * (i % 5)),
      z,
      null,
      bias ? this.floats([n]) : null,
    ];
    while (inputs.at(-1) === null) inputs.pop();
    return this.contrib("MatMulNBits", inputs, {
      K: k,
      N: n,
      bits,
      block_size: block,
      accuracy_level: o.level ?? 0,
    });
  }
  /** Ends the graph with `y`. */
  done(y: ValueId, type: DType = "f32", shape: Shape = null): Model {
    return this.output(y, "y", { kind: "tensor", dtype: type, shape }).build();
  }
}

/** A graph of one opset. */
export function mini(opset: number, make: (b: Mini) => ValueId, type: DType = "f32"): Model {
  const b = new Mini(opset);
  return b.done(make(b), type);
}

/** A graph in which one node reads the input. */
export function single(
  o: { opset?: number; shape: Shape; type?: DType; out?: DType },
  op: string,
  more: (b: Mini) => readonly (ValueId | null)[],
  attrs: Readonly<Record<string, AttrInput>> = {},
): Model {
  const [domain, name] = op.includes(":") ? op.split(":") : ["", op];
  return mini(
    o.opset ?? 21,
    (b) => b.node(name!, [b.x(o.shape, o.type), ...more(b)], attrs, { domain: domain! }),
    o.out ?? o.type ?? "f32",
  );
}

/** One Resize. */
export const resize = (
  attrs: Readonly<Record<string, string | number>>,
  scales: readonly number[] = [1, 1, 2, 2],
  type: "f32" | "f16" = "f32",
) =>
  single(
    { shape: [1, 4, 8, 8], type },
    "Resize",
    (b) => [null, b.floats([scales.length], (i) => scales[i]!)],
    attrs,
  );

/** Attributes that every runtime takes. */
export const plain = { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" };

/** MultiHeadAttention of 8 tokens so wide, with an additive mask or without. */
export const mha = (width: number, heads: number, mask: boolean) =>
  mini(21, (b) => {
    const q = b.x([1, 8, width]);
    const bias = mask ? b.floats([1, heads, 8, 8]) : null;
    return b.contrib("MultiHeadAttention", [q, q, q, null, null, bias].slice(0, mask ? 6 : 3), {
      num_heads: heads,
    });
  });
