import type { InferenceSession } from "onnxruntime-node";
import { fail } from "../diagnostics/index.ts";
import { type DType, elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Dim } from "../ir/types.ts";
import { loadOrt, type Ort } from "./ort.ts";
import { dtypeOfOrt, fromOrt, isCarried, toOrt } from "./values.ts";

/**
 * How Q/DQ pairs are computed: `fused` into the integer kernels of the processor, or `reference`, in float as they are
 * written. The latter is what builds for other devices are judged by: this processor's kernels saturate where theirs do
 * not, and some fusions of signed activations write graphs that cannot be loaded. It also asks for half-precision values
 * to be rounded as written, which takes another graph (`targets/rounded.ts`): sessions alone compute them in fp32.
 */
export type Arithmetic = "fused" | "reference";

const REFERENCE: Readonly<Record<string, string>> = { "session.disable_quant_qdq": "1" };

/** How a session is made. Defaults: one thread, all optimisations, CPU. */
export interface SessionOptions {
  /** Intra-op threads. */
  readonly threads?: number;
  readonly optimize?: "all" | "disable" | "basic" | "extended";
  readonly provider?: "cpu" | "webgpu";
  readonly arithmetic?: Arithmetic;
  /** Session configuration entries, such as `session.x64quantprecision`. */
  readonly config?: Readonly<Record<string, string>>;
  /** Path prefix of the profile that onnxruntime writes when the session ends; see `profile.ts`. */
  readonly profile?: string;
  /** Where onnxruntime writes the graph as it will run; see `optimized.ts`. */
  readonly optimizedModelPath?: string;
}

/** Type of one graph input or output as the runtime sees it. Symbolic dims keep their names (`?` when unnamed). */
export interface PortType {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

/** A loaded model. It holds native memory until {@link Session.release} is called. */
export interface Session {
  readonly inputs: readonly PortType[];
  readonly outputs: readonly PortType[];
  /**
   * Runs the model. `feeds` must hold every input; `fetches` (default: all) names the outputs wanted. Fails with
   * FEED_INVALID for feeds of the wrong type and RUNTIME_REJECTED when a kernel fails.
   */
  run(feeds: ReadonlyMap<string, Dense>, fetches?: readonly string[]): Promise<Map<string, Dense>>;
  /** Frees everything; ends the profile. Safe to call twice. */
  release(): Promise<void>;
}

const LEVELS = { all: "all", disable: "disabled", basic: "basic", extended: "extended" } as const;

function reasonOf(e: unknown): string {
  const text = e instanceof Error ? e.message : String(e);
  return text.replace(/\s+/g, " ").trim().slice(0, 600);
}

function ortOptions(o: SessionOptions): InferenceSession.SessionOptions {
  return {
    intraOpNumThreads: o.threads ?? 1,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: LEVELS[o.optimize ?? "all"],
    executionProviders: [o.provider ?? "cpu"],
    logSeverityLevel: 4,
    extra: { ...(o.arithmetic === "reference" && REFERENCE), ...o.config },
    ...(o.profile !== undefined && { enableProfiling: true, profileFilePrefix: o.profile }),
    ...(o.optimizedModelPath !== undefined && { optimizedModelFilePath: o.optimizedModelPath }),
  };
}

function ports(metadata: readonly InferenceSession.ValueMetadata[]): PortType[] {
  return metadata.map((m) => {
    const dtype = m.isTensor ? dtypeOfOrt(m.type) : null;
    if (!m.isTensor || dtype === null) {
      throw new Error(`"${m.name}" is ${m.isTensor ? m.type : "not a tensor"}, which cannot be passed`);
    }
    return { name: m.name, dtype, shape: m.shape.map((d) => (d === "" ? "?" : d)) };
  });
}

/**
 * Loads a model from a file (external data must lie beside it) or from bytes. `where` names it in messages. Fails with
 * RUNTIME_REJECTED, or RUNTIME_PROVIDER_MISSING when the provider has no device.
 */
export async function createSession(
  source: string | Uint8Array,
  where: string,
  options: SessionOptions = {},
  onRelease: () => Promise<void> = async () => {},
): Promise<Session> {
  const ort = await loadOrt();
  let native: InferenceSession | null = null;
  let inputs: PortType[];
  let outputs: PortType[];
  try {
    if (typeof source !== "string" && source.length === 0) throw new Error("the model is empty");
    native =
      typeof source === "string"
        ? await ort.InferenceSession.create(source, ortOptions(options))
        : await ort.InferenceSession.create(source, ortOptions(options));
    inputs = ports(native.inputMetadata);
    outputs = ports(native.outputMetadata);
  } catch (e) {
    await native?.release();
    await onRelease();
    const reason = reasonOf(e);
    if (
      options.provider !== undefined &&
      options.provider !== "cpu" &&
      /adapter|backend|provider/i.test(reason)
    ) {
      return fail("RUNTIME_PROVIDER_MISSING", { provider: options.provider, reason }, e);
    }
    return fail("RUNTIME_REJECTED", { where, reason }, e);
  }
  return wrap(ort, native, { where, inputs, outputs, profiled: options.profile !== undefined, onRelease });
}

function wrap(
  ort: Ort,
  native: InferenceSession,
  s: {
    readonly where: string;
    readonly inputs: readonly PortType[];
    readonly outputs: readonly PortType[];
    readonly profiled: boolean;
    readonly onRelease: () => Promise<void>;
  },
): Session {
  let open = true;
  return {
    inputs: s.inputs,
    outputs: s.outputs,
    async run(feeds, fetches) {
      if (!open) throw new Error(`${s.where} has been released`);
      const given: Record<string, InstanceType<Ort["Tensor"]>> = {};
      for (const port of s.inputs) {
        const feed = feeds.get(port.name);
        checkFeed(port, feed);
        given[port.name] = toOrt(ort, feed);
      }
      const wanted = fetches ?? s.outputs.map((o) => o.name);
      for (const name of wanted) {
        if (!s.outputs.some((o) => o.name === name)) throw new Error(`${s.where} has no output "${name}"`);
      }
      // An empty list would mean all outputs to the binding.
      if (wanted.length === 0) return new Map();
      let results: InferenceSession.OnnxValueMapType;
      try {
        results = await native.run(given, [...wanted]);
      } catch (e) {
        return fail("RUNTIME_REJECTED", { where: s.where, reason: reasonOf(e) }, e);
      }
      return new Map(wanted.map((name) => [name, fromOrt(results[name] as InstanceType<Ort["Tensor"]>)]));
    },
    async release() {
      if (!open) return;
      open = false;
      if (s.profiled) native.endProfiling();
      await native.release();
      await s.onRelease();
    },
  };
}

/** Rank, fixed dims and dtype must fit; the binding's own check comes too late to name the input. */
function checkFeed(port: PortType, feed: Dense | undefined): asserts feed is Dense {
  const expected = `${port.dtype}[${port.shape.join(",")}]`;
  if (feed === undefined) fail("FEED_INVALID", { name: port.name, found: "missing", expected });
  const found = `${feed.dtype}[${feed.dims.join(",")}]`;
  const fits =
    feed.dtype === port.dtype &&
    isCarried(feed.dtype) &&
    feed.dims.every((d) => Number.isSafeInteger(d) && d >= 0) &&
    (port.shape.length === 0 ||
      (feed.dims.length === port.shape.length &&
        port.shape.every((d, i) => typeof d === "string" || d === feed.dims[i])));
  if (!fits) fail("FEED_INVALID", { name: port.name, found, expected });
  if (elementCount(feed.dims) === 0 && feed.bytes.length > 0) {
    throw new Error(`feed "${port.name}" has bytes but no elements`);
  }
}
