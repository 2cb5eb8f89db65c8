import { describe, expect, it } from "vitest";
import { fixture } from "../../../../fixtures/build/index.ts";
import { denseFrom, floats } from "../../../../src/calibrate/index.ts";
import type { Oracle } from "../../../../src/calibrate/statistics/types.ts";
import type { Dense } from "../../../../src/ir/evaluator.ts";
import type { Model } from "../../../../src/ir/graph.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { findSites } from "../../../../src/passes/quantize/static/sites.ts";
import {
  type Options,
  outputsOn,
  prepared,
  quantize,
  sqnr,
  statisticsFor,
  TIMESTEPS,
  trajectory,
} from "./static.ts";

const TEXT = "encoder_hidden_states";
const EXACT: Options = { firstToken: "exact", time: "constant" };

/** Texts whose first token is the same everywhere and a hundred times as large as the others. */
function withLargeFirst(feeds: readonly Map<string, Dense>[]): Map<string, Dense>[] {
  return feeds.map((f) => {
    const text = f.get(TEXT)!;
    const [, tokens, channels] = text.dims as [number, number, number];
    const x = floats(text).map((v, i) => {
      const token = Math.floor(i / channels) % tokens;
      return token === 0 ? 100 * Math.sin(1 + (i % channels)) : v;
    });
    return new Map([...f, [TEXT, denseFrom("f32", text.dims, x)]]);
  });
}

const oracleOf = (feeds: readonly Map<string, Dense>[]): Oracle => ({
  calls: feeds.map((f, i) => ({ timestep: TIMESTEPS[i]!, weight: 1, feeds: f, outputs: new Map() })),
  guidance: 1,
  halves: 1,
  output: "out_sample",
  open: () => Promise.reject(new Error("nothing is opened")),
  errors: () => Promise.reject(new Error("nothing is judged")),
});

/** Node names of text layers, alone, as a regular expression. */
function textOnly(model: Model): string {
  const how = { match: null, exclude: null, minElements: 1, guards: true, firstToken: true };
  const { sites } = findSites(model, inferShapes(model), how);
  const names = sites.filter((s) => s.rest).flatMap((s) => s.layers.map((l) => l.name));
  expect(names.length).toBe(2);
  return `^(${names.join("|")})$`;
}

async function run(options: Options, sample = true) {
  const f = fixture("tiny-unet");
  const model = await prepared(f);
  const match = textOnly(model);
  const feeds = withLargeFirst(trajectory(f, model));
  const before = await outputsOn(model, feeds, { optimize: "disable" });
  const all = { match, ...options };
  const statistics = await statisticsFor(model, all, { feeds, timesteps: TIMESTEPS });
  const decisions = await quantize(model, all, { statistics, oracle: sample ? oracleOf(feeds) : null });
  const after = await outputsOn(model, feeds, { optimize: "disable" });
  const fused = await outputsOn(model, feeds);
  return { model, decisions, quality: sqnr(before, after), agreement: sqnr(after, fused) };
}

const applied = (d: readonly { readonly kind: string; readonly rule: string }[], rule: string): number =>
  d.filter((x) => x.kind === "applied" && x.rule === rule).length;

describe("the first token of a text", () => {
  it("stays float in keys and values of cross-attention, and the others keep their levels", async () => {
    const exact = await run(EXACT);
    expect(applied(exact.decisions, "integer-matmul")).toBe(2);
    const { graph } = exact.model;
    const input = graph.inputs.find((i) => graph.value(i).name === TEXT)!;
    const readers = graph.users(input).map((u) => graph.node(u));
    expect(readers.filter((n) => n.op === "Slice").length).toBeGreaterThanOrEqual(2);
    const products = [...graph.nodes()].filter((n) => n.op === "MatMulIntegerToFloat");
    expect(products.length).toBe(2);
    const first = [...graph.nodes()].filter((n) => n.name.endsWith("/first") && n.op === "MatMul");
    expect(first.length).toBe(2);
    // Both products read the same stored integers.
    for (const [i, n] of first.entries()) {
      const cast = graph.producer(graph.producer(n.inputs[1]!)!.inputs[0]!)!;
      const stored = graph.constant(cast.inputs[0]!)!;
      expect(stored.dtype).toBe("i8");
      expect(stored).toBe(graph.constant(products[i]!.inputs[1]!));
    }
    const lifted = await run({ guards: false, time: "constant" });
    expect(applied(lifted.decisions, "integer-matmul")).toBe(2);
    expect(exact.quality).toBeGreaterThan(lifted.quality + 15);
    expect(exact.quality).toBeGreaterThan(35);
    expect(exact.agreement).toBeGreaterThan(70);
  });

  it("stays float between Q and DQ too", async () => {
    const exact = await run({ ...EXACT, bits: 16 });
    expect(applied(exact.decisions, "qdq-matmul")).toBe(2);
    expect(exact.quality).toBeGreaterThan(40);
    expect(exact.agreement).toBeGreaterThan(70);
  });

  it("is not split where nothing is known of the texts, and guarded without the option", async () => {
    const blind = await run(EXACT, false);
    expect(blind.decisions.find((d) => d.rule === "first-token")?.kind).toBe("downgraded");
    expect(blind.decisions.filter((d) => d.rule === "guard-input").length).toBe(2);
    expect(blind.quality).toBe(Number.POSITIVE_INFINITY);
    const guarded = await run({ time: "constant" });
    expect(guarded.decisions.filter((d) => d.rule === "guard-input").length).toBe(2);
  });
});
