import { join } from "node:path";
import { readNpz } from "../../calibrate/npz.ts";
import { DiffpressError } from "../../diagnostics/index.ts";
import type { Dense } from "../../ir/evaluator.ts";
import { createRuntime, type Runtime, type Session, type SessionOptions } from "../../runtime/index.ts";
import { compareOnInputs } from "../../verify/index.ts";
import { withSession } from "../../verify/sessions.ts";
import { hashFile } from "../hash.ts";
import { withTwins } from "../twins.ts";
import type { BuildComponent, SelfTest } from "./build-file.ts";
import { readBuildFile } from "./read.ts";

/** How one model of a build did. */
export interface SelfTestComponent {
  readonly name: string;
  /** Files that are not what was written, with why. */
  readonly files: readonly { readonly path: string; readonly problem: string }[];
  /** Outputs beside the expected ones. SQNR in dB; `null` where it is no number. */
  readonly outputs: readonly {
    readonly name: string;
    readonly sqnr: number | null;
    readonly limit: number;
    readonly met: boolean;
  }[];
  /** Why it was not run, or what the runtime said when it was. */
  readonly problem: string | null;
  /** Operators without a CPU kernel that ran as standard ones: what passes then is the files, not the device. */
  readonly twin: readonly string[];
  readonly passed: boolean;
}

/** What {@link selfTest} found. A component without a stored test passes when its files are whole. */
export interface SelfTestResult {
  readonly target: string;
  readonly provider: string;
  readonly components: readonly SelfTestComponent[];
  readonly passed: boolean;
}

/** Options of {@link selfTest}. */
export interface SelfTestOptions {
  /** Execution provider to run on; default cpu, which every build with a stored test runs on. */
  readonly provider?: "cpu" | "webgpu";
  readonly threads?: number;
}

async function wholeFiles(folder: string, c: BuildComponent): Promise<SelfTestComponent["files"]> {
  const out: { path: string; problem: string }[] = [];
  for (const f of c.files) {
    try {
      const found = await hashFile(join(folder, f.path));
      if (found.bytes !== f.bytes)
        out.push({ path: f.path, problem: `${found.bytes} bytes, expected ${f.bytes}` });
      else if (found.sha256 !== f.sha256) out.push({ path: f.path, problem: "its bytes have changed" });
    } catch (e) {
      out.push({ path: f.path, problem: e instanceof Error ? e.message : String(e) });
    }
  }
  return out;
}

/** Stored answers in the place of a session. */
function stored(session: Session, outputs: ReadonlyMap<string, Dense>): Session {
  return { ...session, run: async () => new Map(outputs), release: async () => {} };
}

async function runTest(
  path: string,
  archive: string,
  test: SelfTest,
  o: { readonly runtime: Runtime; readonly session: SessionOptions },
): Promise<SelfTestComponent["outputs"]> {
  const arrays = await readNpz(archive, "the self-test");
  const named = (prefix: string): Map<string, Dense> =>
    new Map(
      [...arrays].flatMap(([k, d]) => (k.startsWith(prefix) ? [[k.slice(prefix.length), d] as const] : [])),
    );
  return await withSession(o.runtime, path, o.session, async (session) => {
    const { outputs } = await compareOnInputs(stored(session, named("out.")), session, [named("in.")]);
    const limit = test.minSqnrDb;
    return outputs.map(({ name, sqnr }) => ({
      name,
      sqnr: Number.isFinite(sqnr) ? sqnr : null,
      limit,
      met: sqnr >= limit,
    }));
  });
}

async function testOne(
  folder: string,
  c: BuildComponent,
  o: { readonly runtime: Runtime; readonly session: SessionOptions },
): Promise<SelfTestComponent> {
  const files = await wholeFiles(folder, c);
  const done = (
    outputs: SelfTestComponent["outputs"],
    problem: string | null,
    ran: boolean,
  ): SelfTestComponent => ({
    name: c.name,
    files,
    outputs,
    problem,
    twin: ran && o.session.provider === "cpu" ? (c.selfTest?.twin ?? []) : [],
    passed: files.length === 0 && ran && outputs.every((x) => x.met),
  });
  if (c.selfTest === null) return done([], c.noSelfTest ?? "no test is stored", true);
  try {
    const path = join(folder, c.model);
    return done(await runTest(path, join(folder, c.selfTest.file), c.selfTest, o), null, true);
  } catch (e) {
    if (!(e instanceof DiffpressError)) throw e;
    return done([], e.message, false);
  }
}

/**
 * Sees whether a target folder of a build works on this machine: its files are those that were written, and its models
 * answer the stored input as reference arithmetic does, to the decibels that `build.json` names. Graphs are optimised on
 * the provider the build is for only. Errors:
 * BUILD_FILE_INVALID; everything else is part of the result.
 */
export async function selfTest(folder: string, options: SelfTestOptions = {}): Promise<SelfTestResult> {
  const build = await readBuildFile(folder);
  const provider = options.provider ?? "cpu";
  // Elsewhere than on its own provider a build shows what it says, not how that runs: fused 8-bit kernels of x86
  // processors without VNNI saturate where the arithmetic it was made for does not.
  const own = provider === build.provider.name;
  const session: SessionOptions = {
    provider,
    threads: options.threads ?? 1,
    optimize: own ? "all" : "disable",
  };
  const runtime = withTwins(await createRuntime({ workers: 0 }));
  try {
    const components: SelfTestComponent[] = [];
    for (const c of build.components) components.push(await testOne(folder, c, { runtime, session }));
    return { target: build.target.id, provider, components, passed: components.every((c) => c.passed) };
  } finally {
    await runtime.close();
  }
}
