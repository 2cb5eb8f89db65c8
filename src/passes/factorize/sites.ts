import { elementCount } from "../../ir/dtype.ts";
import { type Attr, attrInt, type Graph, type Node, type ValueId } from "../../ir/graph.ts";
import { type Form, sidesOf } from "../../runtime/kernels/factor-inputs.ts";
import { optionPattern } from "../option-pattern.ts";
import type { PassContext } from "../pass.ts";
import { guardedLayers } from "../quantize/guards.ts";
import { type Layer, weightLayers } from "../quantize/layers.ts";
import { leftLayers } from "../quantize/left-layers.ts";
import type { FactorizeOptions } from "./options.ts";

/** A layer whose weight can be written as a product. */
export interface Site {
  readonly layer: Layer;
  readonly form: Form;
  readonly input: ValueId;
  /** Outputs and summed inputs. */
  readonly rows: number;
  readonly columns: number;
}

/** What choosing layers may use. */
export type SiteContext = Pick<PassContext, "model" | "shapes" | "decide">;

function formOf({ node, role, tensor }: Layer): Form | string {
  if (node.domain !== "" || !["MatMul", "Gemm", "Conv"].includes(node.op))
    return "the operator is neither a matrix product nor a convolution";
  if (role.groups !== 1) return "its inputs are in groups";
  if (node.op === "Conv")
    return tensor.dims.length === 4 ? "conv" : "only convolutions of images are written as products";
  if (tensor.dims.length !== 2) return "its weight is more than one matrix";
  if (role.activation !== 0 || attrInt(node, "transA") === 1) return "its input is transposed";
  return role.outAxis === 1 ? "KN" : "NK";
}

/** Names that factorizations give to what comes before the last factor, which keeps the layer's name. */
const INNER_FACTOR = /\/(low-rank\.down|tucker\.(down|core))$/;

/** Whether a layer is a factor that a factorization has made. */
function isFactor(graph: Graph, { node, role }: Layer): boolean {
  const before = graph.producer(node.inputs[role.activation]);
  return INNER_FACTOR.test(node.name) || (before !== undefined && INNER_FACTOR.test(before.name));
}

/** Layers that options and guards leave, in graph order; the others are decided on, with counts by reason. */
export function sitesOf(pass: string, graph: Graph, o: FactorizeOptions, ctx: SiteContext): Site[] {
  const match = optionPattern(pass, "match", o.match);
  const exclude = optionPattern(pass, "exclude", o.exclude);
  const guards = guardedLayers(ctx);
  const left = leftLayers();
  const out: Site[] = [];
  for (const layer of weightLayers(graph, ctx.shapes())) {
    const { node, tensor, value, role } = layer;
    const guard = guards.get(node.id);
    if (match?.test(node.name) === false || exclude?.test(node.name) === true)
      left.leave(layer, "selection", "its name is not selected by match and exclude");
    else if (elementCount(tensor.dims) < o.minElements)
      left.leave(layer, "min-elements", `it has fewer than ${o.minElements} elements`);
    else if (isFactor(graph, layer)) left.leave(layer, "factor", "it is a factor already");
    else if (o.guards && guard !== undefined)
      left.leave(layer, `guard-${guard}`, `guards leave it as it is (${guard})`);
    else if (graph.users(value).length > 1 || graph.isOutput(value))
      left.leave(layer, "shared-weight", "other nodes read its weight too");
    else {
      const form = formOf(layer);
      if (form === "KN" || form === "NK" || form === "conv")
        out.push({ layer, form, input: node.inputs[role.activation]!, ...sidesOf(tensor.dims, form) });
      else left.leave(layer, "layer-kind", form);
    }
  }
  left.decide(ctx);
  return out;
}

const attrText = (a: Attr): string =>
  a.kind === "ints" ? a.value.map(Number).join() : a.kind === "int" ? `${a.value}` : "";

/** How a node slides over its input: layers that agree in it can share what they read first. */
function geometry(node: Node): string {
  return ["kernel_shape", "strides", "pads", "dilations", "auto_pad"]
    .map((name) => {
      const a = node.attrs.get(name);
      return a === undefined ? "" : a.kind === "string" ? new TextDecoder().decode(a.value) : attrText(a);
    })
    .join(";");
}

/** Most elements of weights that are factored together. */
const MOST_STACKED = 1 << 24;

/** Layers that read one input in one way, in the order of their first members. Without `merge` each is alone. */
export function groupSites(sites: readonly Site[], merge: boolean): Site[][] {
  const groups: Site[][] = [];
  const open = new Map<string, { members: Site[]; elements: number }>();
  for (const s of sites) {
    const { tensor, node } = s.layer;
    const elements = s.rows * s.columns;
    const key = [s.input, s.form, s.columns, tensor.dtype, String(tensor.dims.slice(2)), geometry(node)].join(
      "|",
    );
    const known = open.get(key);
    if (merge && known !== undefined && known.elements + elements <= MOST_STACKED) {
      known.members.push(s);
      known.elements += elements;
      continue;
    }
    const members = [s];
    groups.push(members);
    open.set(key, { members, elements });
  }
  return groups;
}
