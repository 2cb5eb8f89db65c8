import { clean } from "./clean.ts";
import type { Examples } from "./example.ts";
import { fuse } from "./fuse.ts";
import { convert, legalise } from "./legalise.ts";
import { quantize } from "./quantize.ts";
import { factorize, others, prune } from "./shrink.ts";

/** One example for every registered pass. */
export const examples: Examples = {
  ...clean,
  ...fuse,
  ...legalise,
  ...convert,
  ...prune,
  ...factorize,
  ...others,
  ...quantize,
};
export type { Example, Step } from "./example.ts";
