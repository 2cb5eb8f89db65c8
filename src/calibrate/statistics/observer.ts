import type { Dense } from "../../ir/evaluator.ts";
import type { Model } from "../../ir/graph.ts";
import type { Runtime, Session, SessionOptions } from "../../runtime/index.ts";
import { floats } from "../dense.ts";
import { type Observed, observe, type Slot } from "./observe.ts";
import type { Draw } from "./positions.ts";
import type { Probe } from "./probes.ts";

/** A loaded model that answers probes. */
export interface Observer {
  /** Answers of one run: `slots` say where in `answers` those of each probe are. */
  run(
    feeds: ReadonlyMap<string, Dense>,
    draw: Draw,
  ): Promise<{ readonly slots: readonly Slot[]; readonly answers: Float32Array }>;
  release(): Promise<void>;
}

const signature = (feeds: ReadonlyMap<string, Dense>): string =>
  [...feeds].map(([name, d]) => `${name}:${d.dims}`).join(";");

/** An observer of a model; it loads when it is first run, and again when the shapes of the feeds change. */
export function createObserver(
  model: Model,
  probes: readonly Probe[],
  runtime: Runtime,
  options: SessionOptions,
): Observer {
  let open: { key: string; session: Session; observed: Observed } | null = null;
  return {
    async run(feeds, draw) {
      const key = signature(feeds);
      if (open?.key !== key) {
        await open?.session.release();
        open = null;
        const observed = observe(model, probes, feeds);
        open = { key, session: await runtime.openSession(observed.model, options), observed };
      }
      const { session, observed } = open;
      const results = await session.run(new Map([...feeds, ...observed.indices(draw)]), [observed.output]);
      return { slots: observed.slots, answers: floats(results.get(observed.output)!) };
    },
    async release() {
      await open?.session.release();
      open = null;
    },
  };
}
