import { type Node, opKey } from "../../../ir/graph.ts";
import { movedInputs } from "../../moves.ts";
import { takes } from "../forms.ts";
import {
  agree,
  dequantized,
  gridOf,
  gridType,
  isDequantize,
  isQuantize,
  quantizers,
  sameGrid,
} from "../pairs.ts";
import { defineRule, type Rule } from "../types.ts";

const ORT = "onnxruntime-node 1.30.0";
const PROBED = "probed on the CPU provider";

/** Rules of every target that reads ONNX through onnxruntime. */
export const generalRules: readonly Rule[] = [
  defineRule({
    id: "GEN-1",
    severity: "reject",
    capability: "limits.runtime",
    claim:
      "the opset and the IR version are no newer than the runtime loads; an older IR version than the opset's is taken",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.runtime,
    *find({ model, opset }, newest) {
      if (opset > newest.opset) yield { node: null, why: `opset ${opset} is newer than ${newest.opset}` };
      if (model.irVersion > newest.ir)
        yield { node: null, why: `IR version ${model.irVersion} is newer than ${newest.ir}` };
    },
  }),
  defineRule({
    id: "GEN-2",
    severity: "reject",
    capability: "limits.externalKeys",
    claim: "external data lies below the model's folder, has the length its tensor needs and no unknown keys",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.externalKeys,
    *find({ refused, externalKeys }, known) {
      if (refused !== null) yield { node: null, why: refused.message };
      for (const [tensor, keys] of externalKeys) {
        const strange = keys.filter((k) => !known.includes(k));
        if (strange.length > 0)
          yield { node: null, why: `external data of "${tensor}" has the unknown key ${strange.join(", ")}` };
      }
    },
  }),
  defineRule({
    id: "GEN-3",
    severity: "reject",
    capability: "limits.signedProducts",
    claim:
      "QuantizeLinear has no output_dtype beside a signed zero point, and no three-dimensional product of signed activations is followed by an Add of a constant from opset 21 on",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.signedProducts,
    *find(view, { fromOpset }) {
      for (const node of view.nodes) {
        if (
          isQuantize(node) &&
          view.int(node, "output_dtype", 0) !== 0 &&
          view.dtype(node.inputs[2]) === "i8"
        )
          yield {
            node,
            why: "output_dtype stands beside a signed zero point: the runtime's rewrite to u8 contradicts it",
          };
        if (opKey(node) !== "MatMul" || view.opset < fromOpset || view.shape(node.inputs[0])?.length !== 3)
          continue;
        const [x, w] = [dequantized(view, node, 0), dequantized(view, node, 1)];
        if (x === null || w === null || gridType(view, x) !== "i8") continue;
        const adds = view.readers(node.outputs[0]).filter((n) => opKey(n) === "Add");
        if (adds.some((a) => a.inputs.some((i) => i !== node.outputs[0] && view.isKnown(i))))
          yield {
            node,
            why: "a three-dimensional product of signed activations with a bias fails to load; use u8 or opset 20",
          };
      }
    },
  }),
  defineRule({
    id: "GEN-4",
    severity: "numeric",
    capability: "limits.integerBias",
    claim: "an integer bias has the scale of its products, input scale times weight scale, and zero point 0",
    source: `${PROBED}: Gemm with a bias of another scale is fused and the scale ignored`,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.integerBias,
    *find(view, { tolerance }) {
      for (const node of view.nodes) {
        if (!["Conv", "ConvTranspose", "Gemm"].includes(opKey(node))) continue;
        const [x, w, b] = [0, 1, 2].map((i) => dequantized(view, node, i));
        if (!x || !w || !b || view.dtype(b.inputs[0]) !== "i32") continue;
        const [gx, gw, gb] = [gridOf(view, x), gridOf(view, w), gridOf(view, b)];
        if (gb.zero?.some((z) => z !== 0)) yield { node, why: "its integer bias has a zero point" };
        if (gx.scale === null || gw.scale === null || gb.scale === null || gx.scale.length !== 1) continue;
        const wanted = gw.scale.map((s) => s * gx.scale![0]!);
        if (!agree(gb.scale, wanted, tolerance))
          yield { node, why: `its bias has scale ${gb.scale[0]}, its products have ${wanted[0]}` };
      }
    },
  }),
  defineRule({
    id: "GEN-5",
    severity: "slow",
    capability: "limits.pairs",
    claim: "operators that only move data have one grid on all their inputs and outputs",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.pairs,
    *find(view, { requantizes }) {
      for (const node of view.nodes) {
        if (isQuantize(node) || isDequantize(node) || requantizes?.includes(node.op)) continue;
        const from = movedInputs(node, (id) => view.numbers(id))?.map((id) => view.producer(id)) ?? [];
        const grids = from.filter((n): n is Node => isDequantize(n));
        const to = node.outputs.flatMap((out) => view.readers(out).filter(isQuantize));
        if (grids.length === 0 || to.length === 0) continue;
        if (grids.length < from.length)
          yield {
            node,
            why: "it moves quantized data together with floats, so it runs in float between conversions",
            places: "float",
          };
        else if (to.some((q) => grids.some((d) => sameGrid(view, d, q) === false)))
          yield {
            node,
            why: "it moves data between two grids, so it runs in float between conversions",
            places: "float",
          };
      }
    },
  }),
  defineRule({
    id: "GEN-6",
    severity: "slow",
    capability: "limits.pairs",
    claim:
      "weights in blocks or below 8 bits have a conversion of their own for each reader, and integers of weights are constants",
    source: `${PROBED}: shared conversions of 8-bit weights are copied, shared ones of blocks are not`,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.pairs,
    *find(view, _data, target) {
      for (const node of view.nodes) {
        if (!isDequantize(node)) continue;
        const readers = view.readers(node.outputs[0]);
        const [type, data] = [view.dtype(node.inputs[0]), node.inputs[0]];
        const narrow =
          view.int(node, "block_size", 0) > 0 ||
          type === "i4" ||
          type === "u4" ||
          type === "i2" ||
          type === "u2";
        if (narrow && view.isKnown(data) && readers.length > 1)
          yield {
            node,
            why: `${readers.length} nodes share the conversion of one weight, which then stays a float weight`,
          };
        const computed = view.producer(data);
        const weight = readers.some(
          (r) => r.inputs[1] === node.outputs[0] && ["Conv", "MatMul", "Gemm"].includes(r.op),
        );
        if (
          weight &&
          computed !== undefined &&
          computed.op === "Cast" &&
          target.integer?.scales !== "gathered"
        )
          yield { node, why: "the integers of a weight are computed by a Cast instead of being a constant" };
      }
    },
  }),
  defineRule({
    id: "GEN-7",
    severity: "reject",
    capability: "limits.runtime",
    claim: "scales are finite, above zero and of the float type beside them",
    source: `${PROBED}: a scale of zero loads and gives values that are not numbers; a scale of another type is refused`,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.runtime,
    *find(view) {
      for (const node of view.nodes) {
        if (!isQuantize(node) && !isDequantize(node)) continue;
        const bad = gridOf(view, node).scale?.find((s) => !Number.isFinite(s) || s <= 0);
        if (bad !== undefined) yield { node, why: `it has a scale of ${bad}` };
        const [float, scale] = [
          view.dtype(isQuantize(node) ? node.inputs[0] : node.outputs[0]),
          view.dtype(node.inputs[1]),
        ];
        const free = isQuantize(node) && view.opset >= 23;
        if (
          float !== null &&
          scale !== null &&
          float !== scale &&
          !free &&
          node.attrs.get("output_dtype") === undefined
        )
          yield { node, why: `its scale is ${scale} beside ${float}` };
      }
    },
  }),
  defineRule({
    id: "GEN-8",
    severity: "reject",
    capability: "shapes.static",
    claim: "every length is a number",
    source: "documentation of the providers; shape rules of src/ir/infer",
    runtime: "providers that compile ahead",
    confirmed: false,
    of: (t) => (t.shapes.static ? true : null),
    *find(view) {
      const open = (id: (typeof view.graph.inputs)[number]): boolean =>
        view.shape(id)?.every((d) => typeof d === "number") !== true;
      const inputs = view.graph.inputs.filter(open);
      for (const id of inputs)
        yield {
          node: null,
          why: `input "${view.graph.value(id).name}" has the shape [${view.shape(id)?.join(", ") ?? "?"}]`,
        };
      if (inputs.length > 0) return;
      for (const node of view.nodes)
        if (node.outputs.some((o) => o !== null && view.shapes.type(o)?.kind !== "sequence" && open(o)))
          yield { node, why: "the shape of its output depends on values", places: "leaves" };
    },
  }),
  defineRule({
    id: "GEN-9",
    severity: "slow",
    capability: "limits.pairs",
    claim: "operators between conversions have an integer form",
    source: PROBED,
    runtime: ORT,
    confirmed: true,
    of: (t) => t.limits.pairs,
    *find(view, { operators }) {
      for (const node of view.nodes) {
        if (isQuantize(node) || isDequantize(node) || operators.includes(opKey(node))) continue;
        const fed = node.inputs.some((_, i) => dequantized(view, node, i) !== null);
        if (fed && quantizers(view, node).length > 0)
          yield {
            node,
            why: `${opKey(node)} has no integer form there and runs in float between conversions`,
            places: "float",
          };
      }
    },
  }),
  defineRule({
    id: "OPS-1",
    severity: "slow",
    capability: "limits.operators",
    claim: "every operator is one the provider takes",
    source: "operator lists of the providers",
    runtime: "see each descriptor",
    confirmed: false,
    of: (t) => (t.limits.shaders || t.limits.program ? null : t.limits.operators),
    *find(view, operators, { limits }) {
      for (const node of view.nodes) {
        const named =
          limits.symmetric !== undefined &&
          (node.domain === "com.microsoft" || limits.symmetric.operators.includes(node.op));
        if (!named && !takes(operators, node))
          yield { node, why: `the provider does not take ${opKey(node)}`, places: "leaves" };
      }
    },
  }),
  defineRule({
    id: "OPS-2",
    severity: "reject",
    capability: "shapes.maxRank",
    claim: "no tensor has a higher rank than the target takes",
    source: "documentation of the providers",
    runtime: "see each descriptor",
    confirmed: false,
    of: (t) => t.shapes.maxRank,
    *find(view, most) {
      for (const node of view.nodes) {
        const rank = Math.max(0, ...[...node.inputs, ...node.outputs].map((v) => view.shape(v)?.length ?? 0));
        if (rank > most)
          yield { node, why: `it has a tensor of rank ${rank}, taken are up to ${most}`, places: "leaves" };
      }
    },
  }),
];
