import type { Slot } from "./observe.ts";
import type { Draw } from "./positions.ts";
import type { Probe } from "./probes.ts";

/** Takes the answers to some probes, run after run, and keeps sums of them. */
export interface Sink {
  readonly probes: readonly Probe[];
  /** Bytes one run answers with. */
  readonly bytes: number;
  add(slot: Slot, answers: Float32Array, draw: Draw): void | Promise<void>;
  finish(): void | Promise<void>;
}

/** Sinks in rounds whose runs answer with at most so many bytes; a larger sink has a round of its own. */
export function rounds(sinks: readonly Sink[], limit: number): Sink[][] {
  const out: Sink[][] = [];
  let left = 0;
  for (const sink of sinks) {
    if (sink.bytes > left || out.length === 0) {
      out.push([]);
      left = limit;
    }
    out[out.length - 1]!.push(sink);
    left -= sink.bytes;
  }
  return out;
}
