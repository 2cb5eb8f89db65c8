import { activationOps } from "./activation.ts";
import { attentionOps } from "./attention.ts";
import { constantsOps } from "./constants.ts";
import { contribOps } from "./contrib.ts";
import { contribQuantizeOps } from "./contrib-quantize.ts";
import { controlFlowOps } from "./control-flow.ts";
import { convOps } from "./conv.ts";
import { einsumOps } from "./einsum.ts";
import { elementwiseOps } from "./elementwise.ts";
import { imageOps } from "./image.ts";
import { indexingOps } from "./indexing.ts";
import { layoutOps } from "./layout.ts";
import { lossesOps } from "./losses.ts";
import { matmulOps } from "./matmul.ts";
import { mlOps } from "./ml.ts";
import { normalizationOps } from "./normalization.ts";
import { optionalsOps } from "./optionals.ts";
import { poolOps } from "./pool.ts";
import { quantizeOps } from "./quantize.ts";
import { randomOps } from "./random.ts";
import { recurrentOps } from "./recurrent.ts";
import { reductionsOps } from "./reductions.ts";
import { sequencesOps } from "./sequences.ts";
import { signalOps } from "./signal.ts";
import { slicingOps } from "./slicing.ts";
import { spatialOps } from "./spatial.ts";
import type { OpSpec, OpTrait } from "./spec.ts";
import { stringsOps } from "./strings.ts";
import { trainingOps } from "./training.ts";

/** Every operator this version knows; order has no meaning. A new table is one line here. */
export const OPS: readonly OpSpec[] = [
  ...activationOps,
  ...attentionOps,
  ...constantsOps,
  ...contribOps,
  ...contribQuantizeOps,
  ...controlFlowOps,
  ...convOps,
  ...einsumOps,
  ...elementwiseOps,
  ...imageOps,
  ...indexingOps,
  ...layoutOps,
  ...lossesOps,
  ...matmulOps,
  ...mlOps,
  ...normalizationOps,
  ...optionalsOps,
  ...poolOps,
  ...quantizeOps,
  ...randomOps,
  ...recurrentOps,
  ...reductionsOps,
  ...sequencesOps,
  ...signalOps,
  ...slicingOps,
  ...spatialOps,
  ...stringsOps,
  ...trainingOps,
];

function table(specs: readonly OpSpec[]): ReadonlyMap<string, ReadonlyMap<string, OpSpec>> {
  const domains = new Map<string, Map<string, OpSpec>>();
  for (const spec of specs) {
    let ops = domains.get(spec.domain);
    if (ops === undefined) domains.set(spec.domain, (ops = new Map()));
    if (ops.has(spec.op)) throw new Error(`operator ${spec.domain}:${spec.op} is defined twice`);
    ops.set(spec.op, spec);
  }
  return domains;
}

const BY_NAME = table(OPS);

/** The operator's entry, or `undefined` when this version does not know it. `ai.onnx` means the standard domain. */
export function opSpec(domain: string, op: string): OpSpec | undefined {
  return BY_NAME.get(domain === "ai.onnx" ? "" : domain)?.get(op);
}

/** True when the operator has the trait; false for operators this version does not know. */
export function hasTrait(node: { readonly domain: string; readonly op: string }, trait: OpTrait): boolean {
  return opSpec(node.domain, node.op)?.traits?.includes(trait) ?? false;
}

export { nodeCost, weightRole } from "./queries.ts";
