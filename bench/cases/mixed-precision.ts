import { join } from "node:path";
import { inferShapes } from "../../src/ir/infer.ts";
import { PatchBuilder } from "../../src/ir/patch.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { dequantizeGroups, quantizeChannels } from "../../src/numeric/quantize/channel.ts";
import { createRng, shuffle } from "../../src/numeric/rng.ts";
import { weightLayers } from "../../src/passes/quantize/layers.ts";
import { createRuntime } from "../../src/runtime/index.ts";
import { asF32 } from "../../src/runtime/kernels/elements.ts";
import { splitAxis } from "../../src/runtime/kernels/kernel.ts";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import { buildAndJudge, decisionsOf, exactModel, figures, type Judged } from "../lib/quality.ts";
import { TRAINED, type Trained } from "./shapes.ts";

const BARE = { edges: "none", sensitive: "none" } as const;
const GRID_BITS = 5;

/** One layer's stored bytes in the two formats that a mix is made of. */
interface Sizes {
  readonly name: string;
  readonly w4: number;
  readonly w8: number;
}

/**
 * Every layer at 4 bits, then 8 bits for layers in the given order up to the first that no longer fits. Going on to
 * smaller ones would give 8 bits to the first and last layer, the smallest of all, and so know what matters.
 */
function fill(order: readonly Sizes[], bytes: number): Record<string, "w4" | "w8"> {
  let left = bytes - order.reduce((n, l) => n + l.w4, 0);
  const out: Record<string, "w4" | "w8"> = {};
  for (const l of order) {
    left -= l.w8 - l.w4;
    out[l.name] = left >= 0 ? "w8" : "w4";
    if (left < 0) left = Number.NEGATIVE_INFINITY;
  }
  return out;
}

/** The same grid of 5 bits with a scale and zero point per output channel for every layer; nothing stores it. */
async function uniformGrid(source: string, t: Trained, context: BenchContext) {
  const out = context.scratch.fresh(`${t.name}-grid`);
  const model = await exactModel(source, t.component, out);
  const runtime = await createRuntime({ workers: 0 });
  const patch = new PatchBuilder(model.graph, "uniform grid");
  let [bits, elements] = [0, 0];
  for (const { tensor, role, value } of weightLayers(model.graph, inferShapes(model))) {
    const count = tensor.dims.reduce((n, d) => n * d, 1);
    if (count < 1024) continue;
    const x = asF32({ dtype: tensor.dtype, dims: tensor.dims, bytes: await runtime.reader.read(tensor) });
    const layout = splitAxis(tensor.dims, role.outAxis);
    const q = quantizeChannels(x, layout, {
      grid: { lo: 0, hi: 2 ** GRID_BITS - 1, signed: false, zero: null },
      search: { power: 2, steps: 80 },
      scaleType: "f32",
    });
    const restored = dequantizeGroups(q.q, q.scale, q.zero, layout, null);
    patch.redirect(value, patch.constant(f32Tensor(restored, tensor.dims), `grid${value}`));
    bits += GRID_BITS * count + (32 + GRID_BITS) * tensor.dims[role.outAxis]!;
    elements += count;
  }
  patch.apply();
  await runtime.close();
  const judged = await figures(source, model);
  context.scratch.drop(out);
  return { bits: bits / elements, ...judged };
}

/** Builds and mixes of one model with one way of rounding. */
async function compare(t: Trained, method: "rtn" | "gptq", context: BenchContext) {
  const source = join(context.models, t.name);
  const rows: (string | number)[][] = [];
  let elements = 0;
  const add = (
    what: string,
    bits: number,
    j: Pick<Judged, "mean" | "worst" | "psnr">,
    bytes: number | string,
  ): void => {
    rows.push([t.name, method, what, bits, bytes, j.mean, j.worst, j.psnr]);
    context.say(`${t.name}, ${method}, ${what}: ${bits.toFixed(2)} bits, ${j.mean.toFixed(2)} dB`);
  };
  const build = async (pass: string, options: Readonly<Record<string, unknown>>) => {
    const out = context.scratch.fresh(t.name);
    const made = await buildAndJudge({
      source,
      component: t.component,
      out,
      passes: [{ [pass]: options } as never],
    });
    context.scratch.drop(out);
    const lines = decisionsOf(made.report, t.component, "quantize-weights");
    return { ...made, lines };
  };
  const sizes = new Map<string, Partial<Record<"w4" | "w8", number>>>();
  for (const format of ["w4", "w8"] as const) {
    const made = await build("quantize-weights", { format, method, ...BARE });
    const stored = made.lines.filter((d) => d.to === format && d.bytesAfter !== undefined);
    elements = stored.reduce((n, d) => n + d.bytesBefore! / 4, 0);
    for (const d of stored) sizes.set(d.node, { ...sizes.get(d.node), [format]: d.bytesAfter! });
    const bytes = stored.reduce((n, d) => n + d.bytesAfter!, 0);
    add(`all ${format}`, (8 * bytes) / elements, made, made.bytes);
  }
  const layers = [...sizes].map(([name, s]): Sizes => ({ name, w4: s.w4!, w8: s.w8! }));
  const mixed = async (averageBits: number) => {
    const options = { budget: { averageBits }, guards: false, weights: { method } };
    const made = await build("allocate-bits", options);
    const all = decisionsOf(made.report, t.component, "allocate-bits");
    const stored = all.find((d) => d.rule === "allocation")!.bytesAfter!;
    add(`allocated, ${averageBits} bits`, (8 * stored) / elements, made, made.bytes);
    return { ...made, stored };
  };
  const five = await mixed(5);
  const orders: readonly (readonly [string, readonly Sizes[]])[] = [
    ["4 and 8 bits in layer order", layers],
    ...[0, 1].map(
      (s) =>
        [`4 and 8 bits at random (${s})`, shuffle(createRng(s, "mixed-precision"), [...layers])] as const,
    ),
  ];
  let best = Number.NEGATIVE_INFINITY;
  for (const [what, order] of orders) {
    const assign = fill(order, five.stored);
    const made = await build("quantize-weights", { method, ...BARE, assign });
    const bytes = layers.reduce((n, l) => n + l[assign[l.name]!], 0);
    add(what, (8 * bytes) / elements, made, made.bytes);
    best = Math.max(best, made.mean);
  }
  return { rows, add, mixed, five, best, source };
}

/** Formats allocated by measured damage against mixes of the same bytes made without looking, and a uniform grid. */
export const mixedPrecision: BenchCase = {
  name: "mixed-precision",
  title: "mixed precision against uniform at equal bytes, 16 judging seeds",
  needs: ["cifar-unet", "cifar-dit"],
  async run(context) {
    const rows: (string | number)[][] = [];
    const checks: Check[] = [];
    for (const t of TRAINED) {
      for (const method of ["rtn", "gptq"] as const) {
        const c = await compare(t, method, context);
        if (method === "rtn") {
          context.say(`${t.name}: uniform grid of ${GRID_BITS} bits`);
          const grid = await uniformGrid(c.source, t, context);
          c.add(`uniform grid of ${GRID_BITS} bits (simulated)`, grid.bits, grid, "cannot be stored");
          checks.push(gain(`${t.name}, ${method}, 5 bits over a uniform grid`, c.five.mean - grid.mean));
        } else {
          const three = await c.mixed(3);
          checks.push({
            name: `${t.name}, ${method}, 3 bits, mean SQNR`,
            value: three.mean,
            relation: ">=",
            limit: 18,
            unit: "dB",
          });
        }
        checks.push(gain(`${t.name}, ${method}, 5 bits over the best blind mix`, c.five.mean - c.best));
        rows.push(...c.rows);
      }
    }
    return {
      columns: ["model", "rounding", "weights", "bits", "file bytes", "mean dB", "worst dB", "PSNR dB"],
      rows,
      checks,
      commands: ["npm run bench -- --only mixed-precision"],
      notes: [
        "Bits: everything stored for a weight (integers, scales, zero points) over its elements, over all layers of 1024 elements or more; guards off on both sides.",
        "Only 2, 4 and 8 bits can be stored, so that uniform at 5 bits does not exist as a file: blind mixes take the same bytes as the allocation and give 8 bits to layers in graph order or at random; the uniform grid is 5 bits with one range-searched scale and zero point per output channel, rounded to nearest, computed in floats.",
      ],
    };
  },
};

function gain(name: string, value: number): Check {
  return { name, value, relation: ">=", limit: 2, unit: "dB" };
}
