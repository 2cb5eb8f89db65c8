import { InferenceSession, Tensor } from "onnxruntime-node";
import { createRng } from "../../src/numeric/rng.ts";
import { type Dims, seededFeeds } from "../lib/feeds.ts";

/** A model to run in several ways. */
export interface AgreementInput {
  readonly model: string;
  readonly dims: Dims;
  readonly timesteps: readonly number[];
}

/** SQNR in dB of the default session's output against others, summed over the timesteps. */
export interface Agreement {
  /** Graph optimisation off. */
  readonly unoptimised: number;
  /** `session.x64quantprecision`: products that cannot saturate in 16 bits. */
  readonly precise: number;
  /** The default session on inputs that differ by at most one unit in the last place. */
  readonly nudged: number;
}

type Feeds = Record<string, Tensor>;

function at(feeds: Feeds, timestep: number): Feeds {
  const t = feeds["timestep"]!;
  const values =
    t.type === "int64"
      ? new BigInt64Array(t.size).fill(BigInt(timestep))
      : new Float32Array(t.size).fill(timestep);
  return { ...feeds, timestep: new Tensor(t.type as "int64", values as BigInt64Array, t.dims) };
}

/** Every float of every input but the timestep one unit in the last place up, down or left. */
function nudge(feeds: Feeds): Feeds {
  const rng = createRng(2, "nudge");
  const moved = Object.entries(feeds).map(([name, t]) => {
    if (t.type !== "float32" || name === "timestep") return [name, t] as const;
    const data = Float32Array.from(t.data as Float32Array, (v) => v * (1 + (rng.int(3) - 1) * 2 ** -23));
    return [name, new Tensor("float32", data, t.dims)] as const;
  });
  return Object.fromEntries(moved);
}

const input = JSON.parse(process.argv[2] ?? "{}") as AgreementInput;
const open = (more: InferenceSession.SessionOptions = {}): Promise<InferenceSession> =>
  InferenceSession.create(input.model, { intraOpNumThreads: 1, interOpNumThreads: 1, ...more });

const session = await open();
const feeds = input.timesteps.map((t) => at(seededFeeds(session, input.dims), t));

async function outputs(of: InferenceSession, on: readonly Feeds[]): Promise<Float32Array[]> {
  const all: Float32Array[] = [];
  for (const f of on) all.push((await of.run(f))[of.outputNames[0]!]!.data as Float32Array);
  return all;
}

function sqnr(x: readonly Float32Array[], y: readonly Float32Array[]): number {
  let [signal, noise] = [0, 0];
  for (const [i, a] of x.entries())
    for (const [k, v] of a.entries()) {
      signal += v * v;
      noise += (v - y[i]![k]!) ** 2;
    }
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
}

const own = await outputs(session, feeds);
const db = (x: readonly Float32Array[]): number => Math.min(sqnr(own, x), 200);
const unoptimised = await open({ graphOptimizationLevel: "disabled" });
const precise = await open({ extra: { session: { x64quantprecision: "1" } } });
console.log(
  JSON.stringify({
    unoptimised: db(await outputs(unoptimised, feeds)),
    precise: db(await outputs(precise, feeds)),
    nudged: db(await outputs(session, feeds.map(nudge))),
  } satisfies Agreement),
);
