import { convert, floats } from "../calibrate/dense.ts";
import { isFloat } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Session } from "../runtime/index.ts";
import { energies, ratioDb, SQNR_CAP_DB } from "./metrics/sqnr.ts";
import type { InputsResult, OutputComparison } from "./types.ts";

/** Error of results that cannot be compared; finite, because JSON has no infinity. */
const INCOMPARABLE = Number.MAX_VALUE;

/** Sums over input sets for one output. */
interface Tally {
  maxAbs: number;
  peak: number;
  signal: number;
  noise: number;
}

function count(t: Tally, reference: Dense, candidate: Dense | undefined): void {
  const same =
    candidate !== undefined &&
    candidate.dtype === reference.dtype &&
    candidate.dims.join() === reference.dims.join();
  if (!same) {
    t.maxAbs = INCOMPARABLE;
    t.noise = Number.POSITIVE_INFINITY;
    return;
  }
  const a = isFloat(reference.dtype) ? floats(reference) : integers(reference);
  const b = isFloat(candidate.dtype) ? floats(candidate) : integers(candidate);
  for (let i = 0; i < a.length; i++) {
    const off = Object.is(a[i], b[i]) ? 0 : Math.abs(a[i]! - b[i]!);
    t.maxAbs = Math.max(t.maxAbs, Number.isFinite(off) ? off : INCOMPARABLE);
    if (Number.isFinite(a[i]!)) t.peak = Math.max(t.peak, Math.abs(a[i]!));
  }
  const e = energies(a, b);
  t.signal += e.signal;
  t.noise += e.noise;
}

/** Integer and boolean results, compared as numbers: any difference counts as an error of that size. */
function integers(d: Dense): Float64Array {
  const { bytes } = d;
  const copy = bytes.slice().buffer;
  switch (
    bytes.length /
    Math.max(
      1,
      d.dims.reduce((n, x) => n * x, 1),
    )
  ) {
    case 8:
      return Float64Array.from(new BigInt64Array(copy), Number);
    case 4:
      return Float64Array.from(new Int32Array(copy));
    case 2:
      return Float64Array.from(new Int16Array(copy));
    default:
      return Float64Array.from(new Int8Array(copy));
  }
}

function comparison(name: string, t: Tally): OutputComparison {
  return {
    name,
    maxAbs: t.maxAbs,
    maxRel: t.maxAbs === 0 ? 0 : Math.min(INCOMPARABLE, t.maxAbs / (t.peak > 0 ? t.peak : 1)),
    sqnr: t.noise === 0 ? SQNR_CAP_DB : ratioDb(t.signal, t.noise),
  };
}

/** The same numbers in the types a session takes: a build may read an int64 timestep as int32. */
function asFed(session: Session, feeds: ReadonlyMap<string, Dense>): ReadonlyMap<string, Dense> {
  const types = new Map(session.inputs.map((p) => [p.name, p.dtype]));
  return new Map([...feeds].map(([name, d]) => [name, convert(d, types.get(name) ?? d.dtype)]));
}

/**
 * Runs two models on the same inputs and compares every output of the reference. Outputs that are missing, of another
 * type or of another shape count as infinitely wrong.
 */
export async function compareOnInputs(
  reference: Session,
  candidate: Session,
  sets: Iterable<ReadonlyMap<string, Dense>>,
): Promise<InputsResult> {
  const tallies = new Map<string, Tally>(
    reference.outputs.map((o) => [o.name, { maxAbs: 0, peak: 0, signal: 0, noise: 0 }]),
  );
  const known = new Set(candidate.outputs.map((o) => o.name));
  const shared = reference.outputs.map((o) => o.name).filter((n) => known.has(n));
  let ran = 0;
  for (const feeds of sets) {
    const expected = await reference.run(feeds);
    const found = await candidate.run(asFed(candidate, feeds), shared);
    for (const [name, tally] of tallies) count(tally, expected.get(name)!, found.get(name));
    ran++;
  }
  const outputs = [...tallies].map(([name, t]) => comparison(name, t));
  return {
    kind: "inputs",
    sets: ran,
    outputs,
    maxAbs: Math.max(0, ...outputs.map((o) => o.maxAbs)),
    maxRel: Math.max(0, ...outputs.map((o) => o.maxRel)),
    sqnr: Math.min(SQNR_CAP_DB, ...outputs.map((o) => o.sqnr)),
  };
}
