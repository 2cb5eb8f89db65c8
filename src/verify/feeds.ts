import { denseFrom } from "../calibrate/dense.ts";
import type { SeedPurpose } from "../calibrate/seeds.ts";
import { elementCount, isFloat } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { createRng, gaussian } from "../numeric/rng.ts";
import type { PortType } from "../runtime/index.ts";

/** How inputs are made up for a model nothing is known about. */
export interface SeededInputs {
  readonly seed?: number;
  /** Keeps inputs that calibrate apart from inputs that judge. */
  readonly purpose?: SeedPurpose;
  /** Symbolic dim or `input.axis` to length. Dims not named get 1 on the first axis and 8 elsewhere. */
  readonly bindings?: Readonly<Record<string, number>>;
  /** Exclusive upper bound of integer inputs, by name; 4 unless said, small enough for most tables. */
  readonly below?: Readonly<Record<string, number>>;
}

/** Lengths of dims that nobody named. */
const FIRST_LENGTH = 1;
const OTHER_LENGTH = 8;

/** One set of seeded inputs: floats are standard normal, integers uniform, booleans true. */
export function seededInputs(
  ports: readonly PortType[],
  options: SeededInputs = {},
  set = 0,
): Map<string, Dense> {
  const { bindings = {}, below = {}, seed = 0 } = options;
  const feeds = new Map<string, Dense>();
  for (const port of ports) {
    const dims = port.shape.map((d, axis) => {
      if (typeof d === "number") return d;
      return bindings[`${port.name}.${axis}`] ?? bindings[d] ?? (axis === 0 ? FIRST_LENGTH : OTHER_LENGTH);
    });
    const count = elementCount(dims);
    const rng = createRng(
      seed,
      options.purpose === undefined ? "inputs" : `inputs ${options.purpose}`,
      port.name,
      set,
    );
    const values = isFloat(port.dtype)
      ? gaussian(rng, count)
      : port.dtype === "bool"
        ? new Float64Array(count).fill(1)
        : Float64Array.from({ length: count }, () => rng.int(below[port.name] ?? 4));
    feeds.set(port.name, denseFrom(port.dtype, dims, values));
  }
  return feeds;
}
