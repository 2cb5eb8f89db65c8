import { afterAll } from "vitest";
import { byteLength, elementCount } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import { type Model, opKey } from "../../src/ir/graph.ts";
import { type InferredShapes, inferShapes } from "../../src/ir/infer.ts";
import type { Decision, Pass } from "../../src/passes/pass.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";

let shared: Promise<Runtime> | null = null;

/** One runtime for a test file, closed after it. */
export function runtime(): Promise<Runtime> {
  shared ??= createRuntime({ workers: 0 });
  return shared;
}
afterAll(async () => {
  if (shared !== null) await (await shared).close();
});

/** Runs passes on a model in place and returns their decisions. */
export async function apply(model: Model, ...steps: [Pass<never>, unknown?][]): Promise<Decision[]> {
  const rt = await runtime();
  const decisions: Decision[] = [];
  let known: { version: number; shapes: InferredShapes } | null = null;
  for (const [pass, options] of steps) {
    await pass.run(model.graph, { ...defaults(pass), ...(options as object) } as never, {
      model,
      target: null,
      seed: 0,
      evaluator: rt.evaluator,
      reader: rt.reader,
      ranges: null,
      statistics: null,
      oracle: null,
      collect: async () => null,
      collectCross: async () => null,
      shapes() {
        if (known?.version !== model.graph.version) {
          known = { version: model.graph.version, shapes: inferShapes(model) };
        }
        return known.shapes;
      },
      decide: (d) => decisions.push(d),
      publish: () => {},
    });
  }
  return decisions;
}

function defaults(pass: Pass<never>): Record<string, unknown> {
  const properties = pass.options["properties"] as Record<string, { default?: unknown }>;
  return Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
}

/** Operators of the graph in order, `domain:` in front of those outside the standard. */
export function ops(model: Model): string[] {
  return [...model.graph.nodes()].map((n) => opKey(n));
}

/** A float tensor with a fixed pattern of values in about [-1, 1]. */
export function wave(dims: readonly number[], phase = 0): Dense {
  const n = elementCount(dims);
  const data = Float32Array.from(
    { length: n },
    (_, i) => Math.sin(i * 0.7 + phase) * Math.cos(i * 0.13 + 2 * phase),
  );
  return { dtype: "f32", dims, bytes: new Uint8Array(data.buffer) };
}

export function floats(d: Dense): Float32Array {
  if (d.dtype !== "f32" || d.bytes.length !== byteLength("f32", elementCount(d.dims)))
    throw new Error("not f32");
  return new Float32Array(d.bytes.slice().buffer);
}

/** Largest absolute difference of the first output between two models on the same inputs, shapes compared too. */
export async function difference(a: Model, b: Model, feeds: Record<string, Dense>): Promise<number> {
  const rt = await runtime();
  const [x, y] = [
    await rt.evaluator.run(a, new Map(Object.entries(feeds))),
    await rt.evaluator.run(b, new Map(Object.entries(feeds))),
  ];
  let worst = 0;
  for (const [name, left] of x) {
    const right = y.get(name);
    if (right === undefined) throw new Error(`output ${name} is gone`);
    if (left.dims.join() !== right.dims.join())
      throw new Error(`output ${name}: [${left.dims}] became [${right.dims}]`);
    const [p, q] = [floats(left), floats(right)];
    for (const [i, v] of p.entries()) worst = Math.max(worst, Math.abs(v - q[i]!));
  }
  return worst;
}
