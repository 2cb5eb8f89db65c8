import { intAttr, intsAttr, type Node, stringAttr } from "../../ir/graph.ts";
import { axisOrder } from "../../ir/ops/einsum.ts";
import { permOf } from "../../ir/pattern/checks.ts";
import { stringOr } from "../../ir/pattern/constant.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import { definePass } from "../pass.ts";
import { type RewriteContext, type Rule, rewriteToFixedPoint } from "../rewrite.ts";

/** DepthToSpace has its `mode` from here on. */
const DEPTH_TO_SPACE_OPSET = 11;

/**
 * Orders of the six axes [image, row, column, …] in front of the last Reshape, by what lies innermost in the input:
 * channels (DCR, rows and columns of a patch before them) or the patch (CRD).
 */
const MODES: ReadonlyMap<string, "DCR" | "CRD"> = new Map([
  ["0,5,1,3,2,4", "DCR"],
  ["0,3,1,4,2,5", "CRD"],
]);

/** The permutation a Transpose, or an Einsum of one operand without sums, makes; `null` for anything else. */
function permutation(c: RewriteContext, node: Node): readonly number[] | null {
  if (node.domain !== "") return null;
  if (node.op === "Transpose") return permOf(c, node);
  const rank = c.shape(node.inputs[0])?.length;
  if (node.op !== "Einsum" || rank === undefined) return null;
  return axisOrder(stringOr(node, "equation", ""), rank);
}

/** What a patch grid is made of. */
interface Grid {
  readonly rows: number;
  readonly columns: number;
  readonly block: number;
  readonly channels: number;
  readonly mode: "DCR" | "CRD";
}

function gridOf(c: RewriteContext, move: Node, out: Node): Grid | null {
  const mode = MODES.get(permutation(c, move)?.join() ?? "");
  const six = c.shape(move.inputs[0]);
  const image = c.shape(out.outputs[0]);
  if (mode === undefined || six?.length !== 6 || image?.length !== 4) return null;
  const [, rows, columns, a, b, d] = six;
  const [high, wide, channels] = mode === "DCR" ? [a, b, d] : [b, d, a];
  const known = [rows, columns, high, wide, channels].every((n) => typeof n === "number" && n > 0);
  if (!known || high !== wide || (high as number) < 2) return null;
  const grid = { rows, columns, block: high, channels, mode } as Grid;
  const want = [grid.channels, grid.rows * grid.block, grid.columns * grid.block];
  return want.every((n, i) => image[i + 1] === n) ? grid : null;
}

const patchesToDepth: Rule = {
  name: "patches-to-depth",
  ops: ["Reshape"],
  apply(c, out) {
    const move = c.producer(out, 0);
    if (move === undefined || c.opset < DEPTH_TO_SPACE_OPSET) return false;
    const grid = gridOf(c, move, out);
    const split = c.producer(move, 0, "Reshape");
    if (grid === null || split === undefined) return false;
    if (c.onlyUser(split) !== move || c.onlyUser(move) !== out || !c.claim(out, move, split)) return false;
    const { rows, columns, block, channels, mode } = grid;
    const { name } = out;
    const shape = c.patch.constant(i64Tensor([-1, rows, columns, block * block * channels]), `${name}.grid`);
    const [tokens] = c.patch.node({ op: "Reshape", name: split.name, inputs: [split.inputs[0]!, shape] });
    const [deep] = c.patch.node({
      op: "Transpose",
      name: move.name,
      inputs: [tokens],
      attrs: { perm: intsAttr([0, 3, 1, 2]) },
    });
    const [image] = c.patch.node({
      op: "DepthToSpace",
      name,
      inputs: [deep],
      attrs: { blocksize: intAttr(block), mode: stringAttr(mode) },
    });
    c.bypass(out, image);
    c.patch.remove(move.id).remove(split.id);
    return true;
  },
};

export const fuseDepthToSpace = definePass<Record<string, never>>({
  name: "fuse-depth-to-space",
  family: "fuse",
  summary: "Puts patches of a transformer together with DepthToSpace instead of moving six axes",
  doc: `Diffusion transformers end by splitting each token into a patch of pixels: a Reshape to six axes, a Transpose or an
Einsum that moves them, and a Reshape to the image. Compilers that stop at five axes, or take Einsum for products only,
would leave the accelerator there. DepthToSpace of the tokens as an image with many channels gives the same pixels
(Shi et al., arXiv:1609.05158).

Left alone: patches that are not square, grids whose lengths are not known, and intermediate values that something else
reads. Part of builds for targets that take fewer than six axes.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    rewriteToFixedPoint(graph, [patchesToDepth], ctx, "fuse-depth-to-space");
  },
});
