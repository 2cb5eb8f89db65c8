import type { Damage } from "../../../calibrate/switchboard.ts";
import { createRng } from "../../../numeric/rng.ts";
import { quantile } from "../../../numeric/stats.ts";
import type { Candidates } from "./candidates.ts";
import type { Bench } from "./measure.ts";
import { places, placeWeights } from "./metric.ts";

/** Measured joint noise over the sum of single noises: 1 where noises add up. */
export interface Additivity {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly pairs: number;
}

/** Noise relative to the signal, weighted over calls. */
function relativeNoise(bench: Bench, d: Damage): number {
  const [signal, weights] = [places(bench.signal), placeWeights(bench, 0)];
  return places(d).reduce((s, n, k) => (weights[k]! > 0 ? s + (weights[k]! * n) / signal[k]! : s), 0);
}

/**
 * Changes seeded pairs of weights together and compares with the sum of what each does alone: allocation relies on
 * noises adding up. `null` when fewer than two weights have a lossy form.
 */
export async function additivity(
  bench: Bench,
  weights: readonly Candidates[],
  damages: readonly (readonly Damage[])[],
  options: { readonly seed: number; readonly pairs: number },
): Promise<Additivity | null> {
  const alone = (i: number, pick: number): number => relativeNoise(bench, damages[i]![pick]!);
  const lossy = weights.flatMap((c, i) => {
    const picks = [...c.options.keys()].filter((p) => alone(i, p) > 0);
    return picks.length === 0 ? [] : [{ i, picks }];
  });
  if (lossy.length < 2 || options.pairs === 0) return null;
  const rng = createRng(options.seed, "allocate-bits", "additivity");
  const ratios: number[] = [];
  for (let k = 0; k < options.pairs; k++) {
    const a = lossy[rng.int(lossy.length)]!;
    const rest = lossy.filter((x) => x !== a);
    const b = rest[rng.int(rest.length)]!;
    const [p, q] = [a.picks[rng.int(a.picks.length)]!, b.picks[rng.int(b.picks.length)]!];
    const joint = await bench.measure(
      new Map([
        [a.i, p],
        [b.i, q],
      ]),
    );
    ratios.push(relativeNoise(bench, joint) / (alone(a.i, p) + alone(b.i, q)));
  }
  return {
    median: quantile(ratios, 0.5),
    least: Math.min(...ratios),
    most: Math.max(...ratios),
    pairs: ratios.length,
  };
}
