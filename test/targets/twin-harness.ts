import { ModelBuilder } from "../../src/ir/build.ts";
import type { Model, ValueId } from "../../src/ir/graph.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { castTensor } from "../../src/runtime/kernels/cast.ts";
import { floats, runtime, type wave } from "../passes/harness.ts";

/** Inputs of a model by name. */
export type Feeds = Readonly<Record<string, ReturnType<typeof wave>>>;

/** A model that is one contributed operator between fp32 ports; in half precision between Casts. */
export function single(
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

/** Output `y` of a model that is run as it is written. */
export async function run(model: Model, feeds: Feeds): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize: "disable" });
  try {
    return floats((await session.run(new Map(Object.entries(feeds)))).get("y")!);
  } finally {
    await session.release();
  }
}

/** Numbers as half precision holds them. */
export async function halved(x: ArrayLike<number>): Promise<Float32Array> {
  const tensor = castTensor(castTensor(f32Tensor(Float32Array.from(x)), "f16"), "f32");
  return new Float32Array((await (await runtime()).reader.read(tensor)).slice().buffer);
}

/** Inputs that survive a Cast to half precision, whether the runtime keeps it or not. */
export async function rounded(x: ReturnType<typeof wave>, half: boolean): Promise<ReturnType<typeof wave>> {
  return half ? { ...x, bytes: new Uint8Array((await halved(floats(x))).buffer) } : x;
}
