import { createGramSum, gramStatistics } from "./gram.ts";
import { type PositionsProbe, positionsShape, probeLength } from "./probes.ts";
import type { GramProduct } from "./product.ts";
import type { Sink } from "./sink.ts";
import type { CalibrationCall, GramRequest, GramStatistics } from "./types.ts";

/** Columns beyond which a convolution is not unfolded: its Gram would take gigabytes. */
const MAX_COLUMNS = 6144;

/** What a gram sink is made of. */
export interface GramSinkOptions {
  /** Requests for one and the same Gram; the layers share the result. */
  readonly requests: readonly [GramRequest, ...GramRequest[]];
  readonly dims: readonly number[];
  readonly calls: readonly CalibrationCall[];
  /** Runs over all calls. */
  readonly runs: number;
  readonly oversampling: number;
  readonly product: GramProduct;
  readonly done: (gram: GramStatistics) => void;
}

/** The probe of a Gram: as many positions a run as make `oversampling` times its columns over all runs. */
export function gramProbe(
  request: GramRequest,
  dims: readonly number[],
  oversampling: number,
  runs: number,
): { readonly probe: PositionsProbe; readonly size: number; readonly exact: boolean } {
  const probe = (unfold: GramRequest["unfold"], wanted: number): PositionsProbe => ({
    kind: "positions",
    value: request.value,
    axis: request.axis,
    unfold,
    wanted,
    gram: true,
  });
  const unfolded = positionsShape(probe(request.unfold, 1), dims).size;
  const exact = unfolded <= MAX_COLUMNS || request.unfold === null;
  const unfold = exact ? request.unfold : null;
  const { size } = positionsShape(probe(unfold, 1), dims);
  return { probe: probe(unfold, Math.ceil((oversampling * size) / runs)), size, exact };
}

/** Which bucket each call is summed in; calls in none are left out. */
function bucketsOf(request: GramRequest, calls: number): { readonly count: number; readonly of: Int32Array } {
  if (request.buckets === undefined || request.buckets === null)
    return { count: 1, of: new Int32Array(calls) };
  const of = new Int32Array(calls).fill(-1);
  for (const [b, members] of request.buckets.entries()) for (const c of members) of[c] = b;
  return { count: request.buckets.length, of };
}

/** Collects the Gram of one layer input, for every layer that reads it the same way. */
export function gramSink(options: GramSinkOptions): Sink {
  const { requests, dims, calls } = options;
  const { probe, size, exact } = gramProbe(requests[0], dims, options.oversampling, options.runs);
  const buckets = bucketsOf(requests[0], calls.length);
  const sum = createGramSum(size, buckets.count, options.product);
  return {
    probes: [probe],
    bytes: 4 * probeLength(probe, dims),
    async add(slot, answers, { call }) {
      const bucket = buckets.of[call]!;
      if (bucket < 0) return;
      const { weight } = calls[call]!;
      const { rows, reduced } = positionsShape(probe, slot.dims);
      const part = answers.subarray(slot.offset, slot.offset + slot.length);
      if (!reduced) return await sum.addRows(part, bucket, weight);
      const gram = part.subarray(0, size * size);
      sum.addGram({ gram, mean: part.subarray(size * size), positions: rows }, bucket, weight);
    },
    async finish() {
      const parts = await sum.finish();
      for (const { layer } of requests) options.done(gramStatistics({ layer, ...parts, exact }));
    },
  };
}
