import type { StageEntry } from "../../src/compile/recipe/types.ts";

type Options = Readonly<Record<string, unknown>>;

const sparsify = (options: Options): StageEntry => ({ "sparsify-weights": options }) as StageEntry;
/** Integers in every layer that is not guarded; those that are stay float, so that rows differ by the method alone. */
const quantize = (options: Options): StageEntry =>
  ({ "quantize-weights": { edges: "f32", ...options } }) as StageEntry;

/** Ways to choose and repair, from nothing known to everything. */
const WAYS = {
  magnitude: { method: "magnitude", repair: "none" },
  Wanda: { method: "wanda", repair: "none" },
  "OBS with repair": { method: "obs", repair: "least-squares" },
} as const;

/** Shares of zeros on the curve of every way. */
export const RATIOS = [0.3, 0.5, 0.7] as const;

/** The share at which ways are compared. */
const HALF = 0.5;

/** Ways of {@link curve} in the order they have to come. */
export const ORDER = Object.keys(WAYS) as readonly (keyof typeof WAYS)[];

/** Label of a point on a curve. */
export function curve(way: keyof typeof WAYS, ratio: number): string {
  return `${way}, ${100 * ratio} %`;
}

const curves = Object.fromEntries(
  ORDER.flatMap((way) => RATIOS.map((ratio) => [curve(way, ratio), [sparsify({ ...WAYS[way], ratio })]])),
);

const linear = (format: string): StageEntry[] => [quantize({ format, method: "gptq" })];
const palette = (format: string): StageEntry[] => [quantize({ format, method: "palette" })];
const half = { pattern: "unstructured", ratio: HALF };

/** Passes of every build by label. */
export const BUILDS: Readonly<Record<string, readonly StageEntry[]>> = {
  ...curves,
  "magnitude with repair, 50 %": [sparsify({ method: "magnitude" })],
  "OBS, error feedback alone, 50 %": [sparsify({ repair: "feedback" })],
  "2:4, magnitude": [sparsify({ ...WAYS.magnitude, pattern: "2:4" })],
  "2:4, OBS with repair": [sparsify({ pattern: "2:4" })],
  "4 bits, linear": linear("w4"),
  "4 bits, palette": palette("w4"),
  "2 bits, linear": linear("w2"),
  "2 bits, palette": palette("w2"),
  "50 % zeros, then 4 bits to nearest": [sparsify({}), quantize({ format: "w4", method: "rtn" })],
  "50 % zeros, then 4 bits with GPTQ": [sparsify({}), quantize({ format: "w4", method: "gptq" })],
  "50 % zeros and 4 bits together": [quantize({ format: "w4", method: "rounding", sparse: half })],
};

/** One build against another, and why it may not be ahead. */
export interface SparseClaim {
  readonly name: string;
  readonly on: string;
  readonly off: string;
  /** Whether it has to hold; of others the report says why they do not. */
  readonly must: boolean;
  readonly otherwise: string;
}

/** What is claimed. */
export const CLAIMS: readonly SparseClaim[] = [
  {
    name: "Wanda over magnitude",
    on: curve("Wanda", HALF),
    off: curve("magnitude", HALF),
    must: false,
    otherwise:
      "probably because every output loses as many weights as the next, and inputs behind norms tell less apart than that costs",
  },
  {
    name: "OBS with repair over Wanda",
    on: curve("OBS with repair", HALF),
    off: curve("Wanda", HALF),
    must: true,
    otherwise: "",
  },
  {
    name: "least squares over error feedback alone",
    on: curve("OBS with repair", HALF),
    off: "OBS, error feedback alone, 50 %",
    must: true,
    otherwise: "",
  },
  {
    name: "2:4 by OBS over 2:4 by magnitude",
    on: "2:4, OBS with repair",
    off: "2:4, magnitude",
    must: true,
    otherwise: "",
  },
  {
    name: "palette over linear grid, 4 bits",
    on: "4 bits, palette",
    off: "4 bits, linear",
    must: false,
    otherwise: "a grid with a scale and zero point per 32 weights adapts more than one codebook per tensor",
  },
  {
    name: "palette over linear grid, 2 bits",
    on: "2 bits, palette",
    off: "2 bits, linear",
    must: false,
    otherwise: "a grid with a scale and zero point per 32 weights adapts more than one codebook per tensor",
  },
  {
    name: "zeros and integers together over one after the other, to nearest",
    on: "50 % zeros and 4 bits together",
    off: "50 % zeros, then 4 bits to nearest",
    must: true,
    otherwise: "",
  },
  {
    name: "zeros and integers together over one after the other, GPTQ that keeps zeros",
    on: "50 % zeros and 4 bits together",
    off: "50 % zeros, then 4 bits with GPTQ",
    must: false,
    otherwise: "both minimise the same error around the same repaired weights",
  },
];
