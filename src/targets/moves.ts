import { attrString, type Node, type ValueId } from "../ir/graph.ts";
import { hasTrait } from "../ir/ops/index.ts";

/** Elements of a constant at hand; `null` for anything else. */
type Numbers = (id: ValueId) => ArrayLike<number> | null;

/** A Pad that writes nothing but zeros, which are on every grid, or repeats what it reads. */
function padsWithZeros(node: Node, numbers: Numbers): boolean {
  if ((attrString(node, "mode") ?? "constant") !== "constant") return true;
  const value = node.inputs[2];
  if (value === null || value === undefined) return true;
  return numbers(value)?.[0] === 0;
}

/** A Resize that repeats elements: interpolation and a value from outside of the image would be new numbers. */
function repeats(node: Node): boolean {
  const nearest = (attrString(node, "mode") ?? "nearest") === "nearest";
  return nearest && attrString(node, "coordinate_transformation_mode") !== "tf_crop_and_resize";
}

function onlyMoves(node: Node, numbers: Numbers): boolean {
  if (node.domain !== "") return false;
  switch (node.op) {
    case "Resize":
      return repeats(node);
    case "Pad":
      return padsWithZeros(node, numbers);
    case "MaxPool":
      return node.outputs.length === 1;
    default:
      return hasTrait(node, "moves-data");
  }
}

/**
 * Inputs whose elements a node puts elsewhere without computing with them, so that integers on one grid pass through it as
 * they are: all of a Concat, the first of other operators; `null` for nodes that compute.
 */
export function movedInputs(node: Node, numbers: Numbers): readonly ValueId[] | null {
  if (!onlyMoves(node, numbers)) return null;
  const data = node.op === "Concat" ? node.inputs : node.inputs.slice(0, 1);
  return data.every((id) => id !== null) ? (data as readonly ValueId[]) : null;
}
