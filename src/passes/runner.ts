import type { CrossGram, CrossRequest } from "../calibrate/statistics/cross.ts";
import type { Oracle, Statistics, StatisticsRequest } from "../calibrate/statistics/types.ts";
import { type Diagnostic, DiffpressError, fail } from "../diagnostics/index.ts";
import type { Evaluator } from "../ir/evaluator.ts";
import { type Graph, type Model, subgraphs } from "../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../ir/infer.ts";
import { printGraph } from "../ir/print.ts";
import type { TensorReader } from "../ir/tensor.ts";
import { verifyModel } from "../ir/verify.ts";
import { modelBytes } from "../ir/weights.ts";
import type { Target } from "../targets/target.ts";
import type { Decision, HeldOut, Pass, PassContext, RangeStatistics, SamplingFacts } from "./pass.ts";

/** What a pass did, as the runner measured it. */
export interface PassReport {
  readonly name: string;
  /** Seconds by the injected clock; 0 without one. */
  readonly seconds: number;
  /** Resident bytes of the process after the pass by the injected meter; 0 without one. */
  readonly peakBytes: number;
  readonly nodesBefore: number;
  readonly nodesAfter: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly changed: boolean;
  /** What the pass published; absent when nothing. */
  readonly published?: SamplingFacts;
  readonly decisions: readonly Decision[];
}

/** What a run of passes needs besides the model. One object serves a whole chain: it remembers what already ran. */
export interface RunnerOptions {
  readonly evaluator: Evaluator;
  readonly reader: TensorReader;
  readonly target: Target | null;
  readonly seed: number;
  readonly ranges: RangeStatistics | null;
  /** See {@link PassContext.halfUnsafe}. */
  readonly halfUnsafe?: string;
  readonly statistics?: Statistics | null;
  readonly oracle?: Oracle | null;
  /** Answers {@link PassContext.collect}; without it a pass is told that nothing can be sampled. */
  readonly collect?: (model: Model, request: StatisticsRequest) => Promise<Statistics | null>;
  /** Answers {@link PassContext.collectCross}, likewise. */
  readonly collectCross?: (
    models: { readonly compressed: Model; readonly original: Model },
    requests: readonly CrossRequest[],
  ) => Promise<ReadonlyMap<string, CrossGram> | null>;
  /** Answers {@link PassContext.heldOut}; without it nothing is held out. */
  readonly heldOut?: Pick<RunnerOptions, "collect" | "collectCross"> | null;
  /** Milliseconds; the runner has no clock of its own. */
  readonly now?: () => number;
  /** Peak resident bytes of the process. */
  readonly memory?: () => number;
  readonly signal?: AbortSignal;
  /** 0 structure only, 1 the verifier also checks types, 2 keep the text before the pass for a failure, 3 dump after each. */
  readonly debug?: number;
  /** Takes `NN-pass.txt` at level 3 and `last-good.txt` at level 2. */
  readonly dump?: (file: string, text: string) => void;
  /** Passes left to run over all chains; the runner counts it down and skips what comes after. */
  readonly budget?: { left: number };
  /** Names of the passes already run on this model, for messages; the runner appends to it. */
  readonly trail: string[];
}

/** At most this many equal `applied` lines are kept one by one; the rest become one line with a count. */
const DECISION_LINES = 40;

/** Nodes of a graph, those of its subgraphs included. */
export function countNodes(graph: Graph): number {
  let n = 0;
  for (const node of graph.nodes()) {
    n++;
    for (const g of subgraphs(node)) n += countNodes(g);
  }
  return n;
}

/** Merges equal `applied` decisions beyond {@link DECISION_LINES} into counted lines; everything else stays. */
export function mergeDecisions(all: readonly Decision[]): Decision[] {
  const kept: Decision[] = [];
  const groups = new Map<string, { lines: number; rest: number; at: number }>();
  for (const d of all) {
    const mergeable = d.kind === "applied" && d.error === undefined;
    const key = JSON.stringify([d.kind, d.rule, d.why, d.from, d.to]);
    const group = groups.get(key);
    if (!mergeable || group === undefined || group.lines < DECISION_LINES) {
      kept.push(d);
      if (group !== undefined) group.lines++;
      else if (mergeable) groups.set(key, { lines: 1, rest: 0, at: -1 });
      continue;
    }
    if (group.at < 0) {
      group.at = kept.length;
      kept.push({ ...d, node: "", count: d.count ?? 1 });
      continue;
    }
    const line = kept[group.at]!;
    const merged: Decision = { ...line, count: (line.count ?? 1) + (d.count ?? 1) };
    kept[group.at] = {
      ...merged,
      ...(line.bytesBefore !== undefined && { bytesBefore: line.bytesBefore + (d.bytesBefore ?? 0) }),
      ...(line.bytesAfter !== undefined && { bytesAfter: line.bytesAfter + (d.bytesAfter ?? 0) }),
    };
  }
  return kept;
}

function explain(pass: string, trail: readonly string[], cause: unknown): never {
  const where = `in pass "${pass}"${trail.length > 0 ? `, after ${trail.join(", ")}` : ""}`;
  if (cause instanceof DiffpressError) {
    const d: Diagnostic = { ...cause.diagnostic, message: `${cause.diagnostic.message} (${where})` };
    throw new DiffpressError(d, cause);
  }
  throw new Error(`${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}

/** A missing number compares as neither larger nor smaller, so a limit that was left out would be no limit. */
function checkComplete(pass: Pass, options: unknown): void {
  const properties = (pass.options["properties"] ?? {}) as Readonly<Record<string, { default?: unknown }>>;
  const given = options as object;
  const missing = Object.keys(properties).filter(
    (k) => properties[k]!.default !== undefined && !(k in given),
  );
  if (missing.length > 0)
    throw new Error(`pass "${pass.name}" was started without its options ${missing.join(", ")}`);
}

function heldOutOf(model: Model, from: NonNullable<RunnerOptions["heldOut"]> | null): HeldOut | null {
  if (from === null) return null;
  return {
    collect: async (request, of = model) => (await from.collect?.(of, request)) ?? null,
    collectCross: async (requests, original, of = model) =>
      (await from.collectCross?.({ compressed: of, original }, requests)) ?? null,
  };
}

/**
 * Applies one pass: measures it, verifies the result, explains failures with the passes already run. Its options are
 * complete: defaults are filled in where plans are made. Returns `null` when the run's pass budget (`--stop-after`) is
 * used up. Errors: what the pass fails with, PASS_BROKE_GRAPH, INTERRUPTED.
 */
export async function runPass(
  model: Model,
  pass: Pass,
  passOptions: unknown,
  options: RunnerOptions,
): Promise<PassReport | null> {
  if (options.signal?.aborted) fail("INTERRUPTED", { during: `pass "${pass.name}"` });
  if (options.budget !== undefined) {
    if (options.budget.left <= 0) return null;
    options.budget.left--;
  }
  checkComplete(pass, passOptions);
  const now = options.now ?? (() => 0);
  const debug = options.debug ?? 0;
  const lastGood = debug >= 2 ? printGraph(model) : null;
  const decisions: Decision[] = [];
  let published: SamplingFacts = {};
  let cached: { version: number; graph: Graph; shapes: InferredShapes } | null = null;
  const ctx: PassContext = {
    model,
    target: options.target,
    seed: options.seed,
    evaluator: options.evaluator,
    reader: options.reader,
    ...(options.halfUnsafe !== undefined && { halfUnsafe: options.halfUnsafe }),
    ranges: options.ranges,
    statistics: options.statistics ?? null,
    oracle: options.oracle ?? null,
    collect: async (request, of = model) => (await options.collect?.(of, request)) ?? null,
    collectCross: async (requests, original, of = model) =>
      (await options.collectCross?.({ compressed: of, original }, requests)) ?? null,
    heldOut: heldOutOf(model, options.heldOut ?? null),
    shapes() {
      const { graph } = model;
      if (cached === null || cached.graph !== graph || cached.version !== graph.version)
        cached = { graph, version: graph.version, shapes: inferShapes(model) };
      return cached.shapes;
    },
    decide: (d) => decisions.push(d),
    publish: (facts) => {
      published = { ...published, ...facts };
    },
  };
  const nodesBefore = countNodes(model.graph);
  const bytesBefore = modelBytes(model);
  const versionBefore = model.graph.version;
  const graphBefore = model.graph;
  const start = now();
  try {
    await pass.run(model.graph, passOptions, ctx);
  } catch (cause) {
    if (lastGood !== null) options.dump?.("last-good.txt", lastGood);
    explain(pass.name, options.trail, cause);
  }
  const seconds = (now() - start) / 1000;
  const changed = model.graph !== graphBefore || model.graph.version !== versionBefore;
  if (changed) {
    const problem = verifyModel(model, { types: debug >= 1 }).find((d) => d.severity === "error");
    if (problem !== undefined) {
      if (lastGood !== null) options.dump?.("last-good.txt", lastGood);
      fail("PASS_BROKE_GRAPH", { pass: pass.name, after: [...options.trail], problem: problem.message });
    }
  }
  options.trail.push(pass.name);
  if (debug >= 3)
    options.dump?.(`${String(options.trail.length).padStart(2, "0")}-${pass.name}.txt`, printGraph(model));
  return {
    name: pass.name,
    seconds,
    peakBytes: options.memory?.() ?? 0,
    nodesBefore,
    nodesAfter: countNodes(model.graph),
    bytesBefore,
    bytesAfter: modelBytes(model),
    changed,
    ...(Object.keys(published).length > 0 && { published }),
    decisions: mergeDecisions(decisions),
  };
}
