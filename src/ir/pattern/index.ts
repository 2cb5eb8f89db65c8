export { type ActivationMatch, matchActivation, readActivationOperator } from "./activation.ts";
export {
  type AttentionInput,
  type AttentionMask,
  type AttentionMatch,
  matchAttention,
} from "./attention.ts";
export { readAttentionOperator } from "./attention-operator.ts";
export {
  type ConstRef,
  constantOf,
  dimsOf,
  intsOf,
  type MatchScope,
  numbersAt,
  scalarAt,
} from "./constant.ts";
export {
  findStructures,
  type Miss,
  STRUCTURE_RULES,
  type StructureRule,
  type Structures,
} from "./find.ts";
export {
  escapes,
  type MadePart,
  type Match,
  match,
  matchValue,
  type Mismatch,
  opName,
  type Outcome,
  type PartScope,
  throughIdentity,
} from "./match.ts";
export {
  dataUsers,
  matchGroupNorm,
  matchLayerNorm,
  matchRmsNorm,
  type NormMatch,
  soleUser,
} from "./norm.ts";
export { readNormOperator } from "./norm-operator.ts";
export {
  any,
  chain,
  constant,
  each,
  hole,
  made,
  type NodePattern,
  oneOf,
  op,
  optional,
  type Pattern,
} from "./pattern.ts";
