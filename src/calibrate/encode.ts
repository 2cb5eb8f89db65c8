import { join } from "node:path";
import { fail } from "../diagnostics/index.ts";
import { isFloat } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { PortType, Runtime, Session } from "../runtime/index.ts";
import { portArray } from "./arrays.ts";
import { convert, denseFrom, rows, stack } from "./dense.ts";
import type { Pipeline } from "./pipeline.ts";
import type { InputRoles } from "./roles.ts";
import type { ComponentCondition, Condition } from "./sampling.ts";
import { openTokenizer, type TextTokenizer } from "./tokenizer.ts";

/** Runs conditions through the pipeline's own components; sessions and tokenizers are opened once. */
export interface ComponentEncoder {
  /** Denoiser inputs one condition gives, one row each. */
  encode(condition: Condition): Promise<ReadonlyMap<string, Dense>>;
  close(): Promise<void>;
}

/** Tokenizer folders of a component: `tokenizer_2` for `text_encoder_2`, or inside the component. */
function tokenizerFolders(pipeline: Pipeline, component: string): string[] {
  const suffix = /_\d+$/.exec(component)?.[0] ?? "";
  return [join(pipeline.dir, `tokenizer${suffix}`), join(pipeline.dir, component)];
}

/**
 * Which denoiser input a component's output feeds: the one named so in the description, the one of the same name, or
 * for the well-known pair of a text encoder (sequence and pooled embedding) the one of that rank.
 */
function target(output: string, rank: number, part: ComponentCondition, roles: InputRoles): string | null {
  const named = part.outputs[output];
  if (named !== undefined) return named;
  if (Object.keys(part.outputs).length > 0) return null;
  const same = roles.conditions.find((r) => r.name === output);
  if (same !== undefined) return same.name;
  if (!/^(last_hidden_state|pooler_output|text_embeds|output)$/.test(output)) return null;
  const fits = roles.conditions.filter((r) => isFloat(r.dtype) && r.shape.length === rank && rank >= 2);
  const embeddings = fits.filter((r) => /hidden|embed|projection|context/.test(r.name));
  return embeddings.length === 1 ? embeddings[0]!.name : null;
}

/** Sequences of two encoders for one input (SDXL): features side by side on the last axis. */
function beside(a: Dense, b: Dense): Dense {
  const x = convert(a, "f32");
  const y = convert(b, "f32");
  const [m, n] = [x.dims[x.dims.length - 1]!, y.dims[y.dims.length - 1]!];
  const count = x.bytes.length / (4 * m);
  const out = new Uint8Array(x.bytes.length + y.bytes.length);
  for (let r = 0; r < count; r++) {
    out.set(x.bytes.subarray(r * m * 4, (r + 1) * m * 4), r * (m + n) * 4);
    out.set(y.bytes.subarray(r * n * 4, (r + 1) * n * 4), (r * (m + n) + m) * 4);
  }
  return { dtype: "f32", dims: [...x.dims.slice(0, -1), m + n], bytes: out };
}

/** Runs one row on a model that may be built for a larger batch: the row is repeated, and the first result kept. */
async function runOneRow(
  session: Session,
  feeds: ReadonlyMap<string, Dense>,
): Promise<ReadonlyMap<string, Dense>> {
  const batch = session.inputs[0]?.shape[0];
  if (typeof batch !== "number" || batch === 1) return await session.run(feeds);
  const repeated = new Map<string, Dense>();
  for (const port of session.inputs) {
    const d = feeds.get(port.name)!;
    const whole = port.shape[0] === batch && d.dims[0] === 1;
    repeated.set(port.name, whole ? stack(Array.from({ length: batch }, () => d)) : d);
  }
  const results = await session.run(repeated);
  return new Map([...results].map(([name, d]) => [name, d.dims[0] === batch ? rows(d, 0, 1) : d]));
}

/** One condition's way through one component. */
interface PartRequest {
  readonly condition: string;
  readonly component: string;
  readonly ports: readonly PortType[];
  readonly part: ComponentCondition;
}

/** Builds what a component is fed for a condition; tokenizers are opened once. */
function partFeeder(pipeline: Pipeline) {
  const tokenizers = new Map<string, TextTokenizer | null>();
  const tokenizerOf = async (component: string, prompt: string): Promise<TextTokenizer> => {
    const looked = tokenizerFolders(pipeline, component);
    for (const dir of looked) {
      const opened = tokenizers.has(dir) ? tokenizers.get(dir)! : await openTokenizer(dir);
      tokenizers.set(dir, opened);
      if (opened !== null) return opened;
    }
    return fail("TOKENIZER_MISSING", { component, prompt, looked });
  };

  const feedsOf = async ({ condition, component, ports, part }: PartRequest): Promise<Map<string, Dense>> => {
    const feeds = new Map<string, Dense>();
    for (const port of ports) {
      const value = part.inputs[port.name];
      if (value !== undefined) feeds.set(port.name, portArray(condition, port, value));
    }
    const ids = ports.find((p) => p.name === "input_ids");
    if (part.prompt !== null && ids !== undefined) {
      const tokenizer = await tokenizerOf(component, part.prompt);
      const fixed = ids.shape[1];
      const length = typeof fixed === "number" ? fixed : tokenizer.maxLength;
      const text = tokenizer.encode(part.prompt, length);
      feeds.set(ids.name, denseFrom(ids.dtype, [1, length], text.ids));
      const mask = ports.find((p) => p.name === "attention_mask");
      if (mask !== undefined && !feeds.has(mask.name)) {
        feeds.set(mask.name, denseFrom(mask.dtype, [1, length], text.mask));
      }
    }
    for (const port of ports) {
      if (!feeds.has(port.name)) {
        fail("CONDITION_INPUT_MISSING", {
          condition: `${condition}" through "${component}`,
          input: port.name,
          given: [...feeds.keys()],
        });
      }
    }
    return feeds;
  };

  return feedsOf;
}

/** What a component is fed for each condition that goes through it, the unconditional one last. */
export async function componentFeeds(
  pipeline: Pipeline,
  component: string,
  ports: readonly PortType[],
): Promise<readonly ReadonlyMap<string, Dense>[]> {
  const feedsOf = partFeeder(pipeline);
  const { conditions, unconditional } = pipeline.sampling;
  const found: ReadonlyMap<string, Dense>[] = [];
  for (const c of [...conditions, ...(unconditional === null ? [] : [unconditional])]) {
    const part = c.components[component];
    if (part !== undefined) found.push(await feedsOf({ condition: c.name, component, ports, part }));
  }
  return found;
}

/** An encoder over a pipeline's components. Close it to release their sessions. */
export function componentEncoder(pipeline: Pipeline, runtime: Runtime, roles: InputRoles): ComponentEncoder {
  const sessions = new Map<string, Session>();
  const feedsOf = partFeeder(pipeline);

  const sessionOf = async (condition: string, name: string): Promise<Session> => {
    const opened = sessions.get(name);
    if (opened !== undefined) return opened;
    const component = pipeline.components.find((c) => c.name === name);
    if (component === undefined) {
      const known = pipeline.components.map((c) => c.name);
      return fail("CONDITION_COMPONENT_MISSING", { condition, component: name, known });
    }
    const session = await runtime.openSession(component.model);
    sessions.set(name, session);
    return session;
  };

  return {
    async encode(condition) {
      const found = new Map<string, Dense>();
      for (const [name, part] of Object.entries(condition.components)) {
        const session = await sessionOf(condition.name, name);
        const request = { condition: condition.name, component: name, ports: session.inputs, part };
        const results = await runOneRow(session, await feedsOf(request));
        let connected = false;
        for (const [output, value] of results) {
          const input = target(output, value.dims.length, part, roles);
          const role = roles.conditions.find((r) => r.name === input);
          if (role === undefined) continue;
          const before = found.get(role.name);
          const joins = before !== undefined && value.dims.length > 2;
          found.set(role.name, joins ? beside(before, value) : value);
          connected = true;
        }
        if (!connected) {
          fail("CONDITION_NOT_CONNECTED", {
            condition: condition.name,
            component: name,
            outputs: [...results.keys()],
            inputs: roles.conditions.map((r) => r.name),
          });
        }
      }
      for (const [name, value] of found) {
        const role = roles.conditions.find((r) => r.name === name)!;
        found.set(name, convert(value, role.dtype));
      }
      return found;
    },
    async close() {
      for (const s of sessions.values()) await s.release();
      sessions.clear();
    },
  };
}
