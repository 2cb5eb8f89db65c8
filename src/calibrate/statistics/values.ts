import { addMoments, createMoments } from "./moments.ts";
import type { Slot } from "./observe.ts";
import { type PositionsProbe, type Probe, positionsShape, probeLength } from "./probes.ts";
import type { Sink } from "./sink.ts";
import type { ValueRequest, ValueStatistics } from "./types.ts";
import { viewOf } from "./view.ts";

/** Sizes of a collection. */
export interface Extent {
  readonly calls: number;
  /** Runs of the model per call. */
  readonly runs: number;
}

/** Positions kept of every call, filled run after run. */
function createSample(rows: number, channels: number, { calls, runs }: Extent) {
  const data = new Float32Array(calls * rows * channels);
  const filled = new Int32Array(calls);
  return {
    add(slot: Slot, answers: Float32Array, call: number, run: number): void {
      const given = positionsShape(slot.probe as PositionsProbe, slot.dims).rows;
      const share = Math.floor(((run + 1) * rows) / runs) - Math.floor((run * rows) / runs);
      const take = Math.min(share, given);
      for (let i = 0; i < take; i++) {
        const from = slot.offset + Math.floor((i * given) / take) * channels;
        data.set(answers.subarray(from, from + channels), (call * rows + filled[call]!++) * channels);
      }
    },
    /** Rows every call has, and those rows. */
    finish(): { readonly rows: number; readonly sample: Float32Array } {
      const kept = filled.reduce((a, b) => Math.min(a, b), rows);
      if (kept === rows) return { rows, sample: data };
      const sample = new Float32Array(calls * kept * channels);
      for (let c = 0; c < calls; c++)
        sample.set(data.subarray(c * rows * channels, (c * rows + kept) * channels), c * kept * channels);
      return { rows: kept, sample };
    },
  };
}

/** Collects the distribution of one value of the given dims. */
export function valueSink(
  request: ValueRequest,
  dims: readonly number[],
  extent: Extent,
  done: (value: ValueStatistics) => void,
): Sink {
  const { name, axis } = request;
  const { channels } = viewOf(dims, axis);
  const moments = createMoments(extent.calls, channels);
  const probes: Probe[] = [{ kind: "moments", value: name, axis, square: true }];
  const wanted = Math.ceil(request.rows / extent.runs);
  if (wanted > 0) probes.push({ kind: "positions", value: name, axis, unfold: null, wanted, gram: false });
  const sample = createSample(request.rows, channels, extent);
  return {
    probes,
    bytes: 4 * probes.reduce((n, p) => n + probeLength(p, dims), 0),
    add(slot, answers, { call, run }) {
      if (slot.probe.kind === "moments") addMoments(moments, call, slot, answers);
      else sample.add(slot, answers, call, run);
    },
    finish() {
      const count = moments.count[0] ?? 0;
      done({
        name,
        channels,
        count,
        min: moments.min,
        max: moments.max,
        mean: moments.sum.map((v) => v / count),
        square: moments.squares.map((v) => v / count),
        ...sample.finish(),
      });
    },
  };
}
