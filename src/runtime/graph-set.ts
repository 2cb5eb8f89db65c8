import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fail } from "../diagnostics/index.ts";
import type { TimeRange } from "../ir/buckets.ts";
import type { Dense } from "../ir/evaluator.ts";
import { asF32 } from "./kernels/elements.ts";
import { createSession, type Session, type SessionOptions } from "./session.ts";

/** `model.graphs.json`: graphs over one file of weights, each for the timesteps of a half-open range. */
export interface GraphSet {
  readonly schema: 1;
  /** Input whose value chooses the graph. */
  readonly input: string;
  /** In ascending order of timesteps; together they hold all numbers, each once. Files lie beside this one. */
  readonly graphs: readonly (TimeRange & { readonly file: string })[];
}

const SUFFIX = ".graphs.json";

/** True for the path of a graph set's description. */
export function isGraphSet(path: string): boolean {
  return path.endsWith(SUFFIX);
}

/** The model of a build's component folder: its graph set where it has one, else `model.onnx`. */
export function modelFile(folder: string): string {
  const set = `${folder}/model${SUFFIX}`;
  return existsSync(set) ? set : `${folder}/model.onnx`;
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null;

/** What is wrong with a description; `null` when nothing is. */
function problemOf(value: unknown): string | null {
  if (!isObject(value) || value["schema"] !== 1) return "it is no graph set of schema 1";
  const { input, graphs } = value;
  if (typeof input !== "string" || input === "") return "it names no input";
  if (!Array.isArray(graphs) || graphs.length === 0) return "it lists no graphs";
  let end: unknown = null;
  for (const [i, g] of (graphs as unknown[]).entries()) {
    if (!isObject(g)) return `graph ${i} is no object`;
    const { file, from, until } = g;
    if (typeof file !== "string" || file === "" || basename(file) !== file)
      return `graph ${i} names no file beside it`;
    if (from !== end)
      return `graph ${i} starts at ${String(from)}, where the one before ends at ${String(end)}`;
    const last = i === graphs.length - 1;
    if (last !== (until === null)) return `graph ${i} ends at ${String(until)}`;
    if (!last && (typeof until !== "number" || !(until > Number(from ?? Number.NEGATIVE_INFINITY))))
      return `graph ${i} holds no timesteps`;
    end = until;
  }
  return null;
}

async function readGraphSet(path: string): Promise<GraphSet> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch (e) {
    return fail("GRAPH_SET_INVALID", { file: path, problem: e instanceof Error ? e.message : String(e) }, e);
  }
  const problem = problemOf(value);
  return problem === null ? (value as GraphSet) : fail("GRAPH_SET_INVALID", { file: path, problem });
}

/** The graph for the timesteps of one run. */
function graphFor(set: GraphSet, feed: Dense | undefined, file: string): number {
  if (feed === undefined)
    return fail("FEED_INVALID", { name: set.input, found: "missing", expected: "the timestep" });
  // Graphs compare in float32 too.
  const timesteps = Array.from(asF32(feed));
  const found = new Set(
    timesteps.map((t) => set.graphs.findLastIndex((g) => g.from === null || t >= g.from)),
  );
  const [graph] = found;
  if (found.size !== 1 || graph === undefined) return fail("TIMESTEPS_APART", { file, timesteps });
  return graph;
}

/**
 * Opens the graphs of a set as one session that runs the one for the timestep it is fed; each is loaded when it is first
 * needed, by `load` where something else is run in its place. Errors: GRAPH_SET_INVALID, those of sessions, and when it
 * runs TIMESTEPS_APART.
 */
export async function openGraphSet(
  path: string,
  options: SessionOptions = {},
  load: (file: string, options: SessionOptions) => Promise<Session> = (file, o) =>
    createSession(file, file, o),
): Promise<Session> {
  const set = await readGraphSet(path);
  const open = (k: number): Promise<Session> => load(join(dirname(path), set.graphs[k]!.file), options);
  const first = await open(0);
  const sessions = new Map<number, Promise<Session>>([[0, Promise.resolve(first)]]);
  if (!first.inputs.some((p) => p.name === set.input)) {
    await first.release();
    return fail("GRAPH_SET_INVALID", { file: path, problem: `its graphs have no input "${set.input}"` });
  }
  return {
    inputs: first.inputs,
    outputs: first.outputs,
    async run(feeds, fetches) {
      const k = graphFor(set, feeds.get(set.input), path);
      let session = sessions.get(k);
      if (session === undefined) {
        session = open(k);
        sessions.set(k, session);
      }
      return await (await session).run(feeds, fetches);
    },
    async release() {
      for (const s of await Promise.allSettled(sessions.values()))
        if (s.status === "fulfilled") await s.value.release();
    },
  };
}
