import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import type { Runtime } from "./runtime.ts";
import type { SessionOptions } from "./session.ts";
import { privateFolder } from "./staging.ts";

/** Time spent in the kernels of one operator or one node. */
export interface KernelTime {
  /** Operator, with its domain when it is not the standard one. */
  readonly op: string;
  /** Node names are those of the optimised graph; empty in totals by operator. */
  readonly node: string;
  readonly calls: number;
  readonly microseconds: number;
}

/** Kernel times of a profile, slowest first. */
export interface Profile {
  readonly microseconds: number;
  readonly nodes: readonly KernelTime[];
  readonly ops: readonly KernelTime[];
}

interface ProfileEvent {
  readonly cat?: unknown;
  readonly name?: unknown;
  readonly dur?: unknown;
  readonly args?: { readonly op_name?: unknown };
}

const KERNEL_SUFFIX = "_kernel_time";

function slowestFirst(times: Iterable<KernelTime>): KernelTime[] {
  const order = (t: KernelTime): string => `${t.op}\0${t.node}`;
  return [...times].sort(
    (a, b) => b.microseconds - a.microseconds || (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0),
  );
}

/** Reads onnxruntime's profile (a JSON list of trace events). Fails with PROFILE_INVALID. */
export function parseProfile(text: string, file = "profile"): Profile {
  let events: unknown;
  try {
    events = JSON.parse(text);
  } catch (e) {
    return fail("PROFILE_INVALID", { file, reason: "it is not JSON" }, e);
  }
  if (!Array.isArray(events)) return fail("PROFILE_INVALID", { file, reason: "it is not a list" });
  const nodes = new Map<string, KernelTime>();
  const ops = new Map<string, KernelTime>();
  let microseconds = 0;
  const add = (into: Map<string, KernelTime>, op: string, node: string, dur: number): void => {
    const key = `${op}\0${node}`;
    const t = into.get(key) ?? { op, node, calls: 0, microseconds: 0 };
    into.set(key, { ...t, calls: t.calls + 1, microseconds: t.microseconds + dur });
  };
  for (const e of events as (ProfileEvent | null)[]) {
    const op = e?.args?.op_name;
    if (e?.cat !== "Node" || typeof e.name !== "string" || typeof op !== "string") continue;
    if (!e.name.endsWith(KERNEL_SUFFIX) || typeof e.dur !== "number") continue;
    microseconds += e.dur;
    add(nodes, op, e.name.slice(0, -KERNEL_SUFFIX.length), e.dur);
    add(ops, op, "", e.dur);
  }
  return { microseconds, nodes: slowestFirst(nodes.values()), ops: slowestFirst(ops.values()) };
}

/** Runs a model `runs` times (default once; the first run is in the sum) and returns where the time went. */
export async function profileModel(
  runtime: Pick<Runtime, "openSession">,
  source: string | Uint8Array | Model,
  feeds: ReadonlyMap<string, Dense>,
  options: Omit<SessionOptions, "profile"> & { readonly runs?: number } = {},
): Promise<Profile> {
  const { runs = 1, ...sessionOptions } = options;
  const folder = await privateFolder();
  try {
    const prefix = join(folder.path, "profile");
    const session = await runtime.openSession(source, { ...sessionOptions, profile: prefix });
    try {
      for (let i = 0; i < runs; i++) await session.run(feeds);
    } finally {
      await session.release();
    }
    const [file] = (await readdir(folder.path)).filter((f) => f.startsWith("profile"));
    if (file === undefined) fail("PROFILE_INVALID", { file: prefix, reason: "the runtime wrote none" });
    return parseProfile(await readFile(join(folder.path, file), "utf8"), file);
  } finally {
    await folder.remove();
  }
}
