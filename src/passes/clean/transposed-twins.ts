import { attrInt, type Graph, intAttr, type Node, type NodeId, type Value } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, type TensorReader, tensorBytes } from "../../ir/tensor.ts";
import type { PassContext } from "../pass.ts";

/** Gemm can do without its third input from this opset on (ONNX Gemm-11). */
const BARE_GEMM_OPSET = 11;

/** Bytes of one element, which twins have in the same two corners. */
async function corners(t: Tensor, reader: TensorReader): Promise<string> {
  const bytes = tensorBytes(t);
  const size = bytes / t.dims.reduce((a, b) => a * b, 1);
  const text = (b: Uint8Array): string => Buffer.from(b).toString("latin1");
  if (t.source.kind === "file") {
    const { source } = t;
    const at = async (offset: number): Promise<string> =>
      text(
        await reader.read({
          dtype: "u8",
          dims: [size],
          source: { ...source, offset: source.offset + offset, length: size },
        }),
      );
    return (await at(0)) + (await at(bytes - size));
  }
  const whole = await reader.read(t);
  return text(whole.subarray(0, size)) + text(whole.subarray(bytes - size));
}

/** Whether `b` is `a` turned around, element by element. */
function turned(a: Uint8Array, b: Uint8Array, [rows, columns]: readonly [number, number]): boolean {
  const size = a.length / (rows * columns);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++)
      for (let i = 0; i < size; i++)
        if (a[(r * columns + c) * size + i] !== b[(c * rows + r) * size + i]) return false;
  return true;
}

/** How a layer reads the turned weight at no cost; `null` when it would need a Transpose. */
function rewritten(node: Node, weight: Value, shapes: InferredShapes, bare: boolean) {
  if (node.domain !== "" || node.inputs[1] !== weight.id || node.inputs[0] === weight.id) return null;
  if (node.inputs[2] === weight.id) return null;
  if (node.op === "Gemm") {
    const flag = (attrInt(node, "transB") ?? 0) === 0 ? 1 : 0;
    return { op: "Gemm", attrs: new Map([...node.attrs, ["transB", intAttr(flag)]]) };
  }
  const rank = node.inputs[0] == null ? undefined : shapes.shape(node.inputs[0])?.length;
  if (node.op === "MatMul" && rank === 2 && bare)
    return { op: "Gemm", attrs: new Map([["transB", intAttr(1)]]) };
  return null;
}

/** Matrices that might be each other's transposes: same type, same two lengths, large enough. */
function candidates(graph: Graph, minBytes: number): Value[] {
  return [...graph.values()].filter(
    ({ init, id }) =>
      init !== null &&
      init.dims.length === 2 &&
      init.dims[0]! > 1 &&
      init.dims[1]! > 1 &&
      (init.source.kind === "file" || init.source.kind === "inline") &&
      tensorBytes(init) >= minBytes &&
      tensorBytes(init) % init.dims.reduce((a, b) => a * b, 1) === 0 &&
      !graph.inputs.includes(id) &&
      !graph.isOutput(id),
  );
}

/**
 * Keeps one of two matrices that are each other's transposes where the layers of the other can read it turned: Gemm by
 * its flag, MatMul of two matrices as a Gemm. Twins that would need a Transpose are left and decided on.
 */
export async function shareTransposed(graph: Graph, minBytes: number, ctx: PassContext): Promise<void> {
  const shapes = ctx.shapes();
  const bare = (ctx.model.opsets.get("") ?? 1) >= BARE_GEMM_OPSET;
  const patch = new PatchBuilder(graph, "dedupe-weights/transposed");
  const groups = new Map<string, Value[]>();
  for (const v of candidates(graph, minBytes)) {
    const [rows, columns] = v.init!.dims as [number, number];
    const key = `${v.init!.dtype} ${Math.min(rows, columns)} ${Math.max(rows, columns)}`;
    groups.set(key, [...(groups.get(key) ?? []), v]);
  }
  const changed = new Set<NodeId>();
  for (const group of groups.values()) {
    if (group.length < 2) continue;
    const firsts: { value: Value; corners: string }[] = [];
    for (const v of group) {
      const own = await corners(v.init!, ctx.reader);
      let twin: Value | null = null;
      for (const f of firsts) {
        const [rows, columns] = f.value.init!.dims as [number, number];
        if (f.corners !== own || v.init!.dims[0] !== columns || v.init!.dims[1] !== rows) continue;
        const [a, b] = [await ctx.reader.read(f.value.init!), await ctx.reader.read(v.init!)];
        if (turned(a, b, [rows, columns])) twin = f.value;
      }
      if (twin === null) {
        firsts.push({ value: v, corners: own });
        continue;
      }
      const users = graph.users(v.id).map((id) => graph.node(id));
      const forms = users.map((n) => rewritten(n, v, shapes, bare));
      if (users.length === 0 || forms.includes(null) || users.some((n) => changed.has(n.id))) {
        ctx.decide({
          node: v.name,
          kind: "skipped",
          rule: "transposed-twin",
          why: `it is "${twin.name}" turned around, but what reads it would need a Transpose`,
          bytesBefore: tensorBytes(v.init!),
        });
        continue;
      }
      for (const [i, n] of users.entries()) {
        patch.replace(n, { ...forms[i]!, inputs: n.inputs.map((x) => (x === v.id ? twin.id : x)) });
        changed.add(n.id);
      }
      patch.drop(v.id);
      ctx.decide({
        node: v.name,
        kind: "applied",
        rule: "transposed-twin",
        to: twin.name,
        bytesBefore: tensorBytes(v.init!),
        bytesAfter: 0,
      });
    }
  }
  patch.apply();
}
