/** Patterns over nodes, and the tables of structures made of them. Single structures: `norm.ts`, `activation.ts`, `attention.ts`. */
export type { ActivationMatch } from "./activation.ts";
export type { AttentionMatch } from "./attention.ts";
export { constantOf, type MatchScope } from "./constant.ts";
export { findStructures, type Miss, type Structures } from "./find.ts";
export { type MadePart, match, matchValue, type PartScope, throughIdentity } from "./match.ts";
export type { NormMatch } from "./norm.ts";
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
