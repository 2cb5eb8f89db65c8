import { intsAttr, type Node, type ValueId } from "../../ir/graph.ts";
import { permOf, sameShape } from "../../ir/pattern/checks.ts";
import { intOr, intsAt, stringOr } from "../../ir/pattern/constant.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import { transposeTensor } from "../../runtime/kernels/transpose.ts";
import { definePass } from "../pass.ts";
import { type RewriteContext, type Rule, rewriteToFixedPoint } from "../rewrite.ts";

/** Image to tokens: [N, C, HW] to [N, HW, C]. The way back is the same permutation. */
const SWAP = [0, 2, 1];

const all = (values: readonly number[] | null, wanted: number): boolean =>
  values === null || values.every((v) => v === wanted);

function transposes(c: RewriteContext, node: Node | undefined, perm: readonly number[]): node is Node {
  return node?.op === "Transpose" && node.domain === "" && permOf(c, node)?.join() === perm.join();
}

/** A 1×1 convolution of an image that is a matrix product of its pixels, with a constant weight and bias. */
function isPointwise(c: RewriteContext, node: Node | undefined): node is Node {
  if (node?.op !== "Conv" || node.domain !== "" || c.shape(node.inputs[0])?.length !== 4) return false;
  const weight = c.constant(node, 1);
  return (
    weight?.dims.length === 4 &&
    weight.dims[2] === 1 &&
    weight.dims[3] === 1 &&
    (node.inputs[2] == null || c.constant(node, 2) !== null) &&
    intOr(node, "group", 1) === 1 &&
    stringOr(node, "auto_pad", "NOTSET") === "NOTSET" &&
    all(intsAt(node, "strides"), 1) &&
    all(intsAt(node, "pads"), 0)
  );
}

function reshape(c: RewriteContext, x: ValueId, target: ValueId | readonly number[], name: string): ValueId {
  const shape =
    typeof target === "object" ? c.patch.constant(i64Tensor([...target]), `${name}_shape`) : target;
  return c.patch.node({ op: "Reshape", name, inputs: [x, shape] })[0]!;
}

function swap(c: RewriteContext, x: ValueId, name: string): ValueId {
  return c.patch.node({ op: "Transpose", name, inputs: [x], attrs: { perm: intsAttr(SWAP) } })[0]!;
}

/** Tokens [N, HW, C] through the weight of a 1×1 convolution. */
function linear(c: RewriteContext, conv: Node, tokens: ValueId): ValueId {
  const weight = c.constant(conv, 1)!;
  const [outputs, inputs] = weight.dims as [number, number];
  const stored = c.graph.value(conv.inputs[1]!).name;
  const matrix = transposeTensor(reshapeTensor(weight, [outputs, inputs]), [1, 0]);
  const [product] = c.patch.node({
    op: "MatMul",
    name: conv.name,
    inputs: [tokens, c.patch.constant(matrix, `${stored}/linear`)],
  });
  if (conv.inputs[2] == null) return product!;
  return c.patch.node({ op: "Add", name: `${conv.name}/bias`, inputs: [product!, conv.inputs[2]] })[0]!;
}

/** Transpose to channels last and Reshape to tokens: the other way round, the Reshape needs no computed target. */
const imageToTokens: Rule = {
  name: "image-to-tokens",
  ops: ["Reshape"],
  apply(c, node) {
    const transpose = c.producer(node, 0, "Transpose");
    if (!transposes(c, transpose, [0, 2, 3, 1]) || c.onlyUser(transpose) !== node) return false;
    const image = c.shape(transpose.inputs[0]);
    const tokens = c.shape(node.outputs[0]);
    if (image === null || tokens?.length !== 3 || tokens[0] !== image[0] || tokens[2] !== image[1])
      return false;
    if (image.includes(0) || !c.claim(node, transpose)) return false;
    const flat = reshape(c, transpose.inputs[0]!, [0, 0, -1], transpose.name);
    c.bypass(node, swap(c, flat, node.name));
    c.patch.remove(transpose.id);
    return true;
  },
};

/** Reshape of tokens to a channels-last image and Transpose to channels first, the other way round. */
const tokensToImage: Rule = {
  name: "tokens-to-image",
  ops: ["Transpose"],
  apply(c, node) {
    const back = c.producer(node, 0, "Reshape");
    if (back === undefined || !transposes(c, node, [0, 3, 1, 2]) || c.onlyUser(back) !== node) return false;
    const tokens = c.shape(back.inputs[0]);
    const image = c.shape(back.outputs[0]);
    if (tokens?.length !== 3 || image === null || image[0] !== tokens[0] || image[3] !== tokens[2])
      return false;
    if (!c.claim(node, back)) return false;
    const order = c.patch.constant(i64Tensor([0, 3, 1, 2]), `${node.name}_order`);
    const [shape] = c.patch.node({
      op: "Gather",
      name: `${node.name}/shape`,
      inputs: [back.inputs[1]!, order],
    });
    c.bypass(node, reshape(c, swap(c, back.inputs[0]!, back.name), shape!, node.name));
    c.patch.remove(back.id);
    return true;
  },
};

/** Convolution, then tokens. */
const beforeTokens: Rule = {
  name: "pointwise-before-tokens",
  ops: ["Transpose"],
  apply(c, node) {
    const flat = c.producer(node, 0, "Reshape");
    const conv = flat === undefined ? undefined : c.producer(flat, 0, "Conv");
    if (flat === undefined || !transposes(c, node, SWAP) || !isPointwise(c, conv)) return false;
    if (c.onlyUser(conv) !== flat || c.onlyUser(flat) !== node) return false;
    if (c.ints(flat, 1)?.join() !== "0,0,-1" || !c.claim(node, flat, conv)) return false;
    const tokens = swap(c, reshape(c, conv.inputs[0]!, [0, 0, -1], flat.name), node.name);
    c.bypass(node, linear(c, conv, tokens));
    c.patch.remove(flat.id).remove(conv.id);
    return true;
  },
};

/** Tokens, then convolution. The image keeps its shape, so the computed target serves again. */
const afterTokens: Rule = {
  name: "pointwise-after-tokens",
  ops: ["Conv"],
  apply(c, conv) {
    const back = c.producer(conv, 0, "Reshape");
    const transpose = back === undefined ? undefined : c.producer(back, 0, "Transpose");
    if (back === undefined || !transposes(c, transpose, SWAP) || !isPointwise(c, conv)) return false;
    if (c.onlyUser(back) !== conv || c.onlyUser(transpose) !== back) return false;
    const shape = c.shape(conv.inputs[0]);
    const tokens = c.shape(transpose.inputs[0]);
    if (!sameShape(shape, c.shape(conv.outputs[0])) || tokens?.length !== 3 || tokens[2] !== shape![1])
      return false;
    if (!c.claim(conv, back, transpose)) return false;
    const image = swap(c, linear(c, conv, transpose.inputs[0]!), transpose.name);
    c.bypass(conv, reshape(c, image, back.inputs[1]!, back.name));
    c.patch.remove(back.id).remove(transpose.id);
    return true;
  },
};

export const linearisePointwise = definePass<Record<string, never>>({
  name: "linearise-pointwise",
  family: "fuse",
  summary: "Writes 1×1 convolutions beside a change to tokens as matrix products",
  doc: `A transformer block inside a U-Net projects the image by a 1×1 convolution, moves the channels last for its
tokens, and comes back the same way. The projection is the same product on the tokens: written there, a runtime that keeps
images in a blocked layout for its convolutions need not enter and leave that layout for it, and its integer form needs no
integer output. The change to tokens becomes a Reshape with a constant target and a Transpose of the last two axes, which
frees the arithmetic on heights and widths that exporters leave.

Left alone: strides, paddings, groups, weights that are not constant, and a projection back to the image that changes the
number of channels or is read before it is an image. Only targets that gain from it ask for this pass.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    rewriteToFixedPoint(
      graph,
      [imageToTokens, tokensToImage, beforeTokens, afterTokens],
      ctx,
      "linearise-pointwise",
    );
  },
});
