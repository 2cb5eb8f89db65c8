import { join } from "node:path";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import { type Laboratory, type Outcome, openLaboratory, type Step } from "../lib/laboratory.ts";
import type { Plot } from "../lib/plot.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED, type Trained } from "./shapes.ts";

/** Shares of every layer's operations, and of the width of heads, which comes in steps of 4. */
const RATIOS = [0.85, 0.7, 0.5];
const WIDTHS = [0.75, 0.5, 0.25];

/** What is compared at equal ranks: the same pass with and without knowledge of the inputs. */
interface Method {
  readonly pass: string;
  readonly weighed: string;
  readonly plain: string;
  readonly models: readonly string[];
  readonly ratios: readonly number[];
  /** Whether a share of all operations can be allocated. */
  readonly allocates: boolean;
  /** Options besides. */
  readonly options: Step["options"];
}

const BOTH = TRAINED.map((t) => t.name);

const SVD: Method = {
  pass: "factorize-linear",
  weighed: "weighted SVD",
  plain: "plain SVD",
  models: BOTH,
  ratios: RATIOS,
  allocates: true,
  options: { score: false },
};
const TUCKER: Method = {
  pass: "factorize-conv",
  weighed: "Tucker-2, whitened",
  plain: "Tucker-2, plain HOSVD",
  models: ["cifar-unet"],
  ratios: RATIOS,
  allocates: true,
  options: { score: false },
};
const HEADS: Method = {
  pass: "factorize-attention",
  weighed: "narrower heads, weighted",
  plain: "narrower heads, plain",
  models: BOTH,
  ratios: WIDTHS,
  allocates: false,
  options: {},
};

const stepOf = (m: Method, budget: Readonly<Record<string, number>>, weighting: string): Step => ({
  pass: m.pass,
  options: { ...m.options, budget, weighting },
});

/** Layers that were factored. */
const factored = (o: Outcome): number =>
  o.decisions.filter((d) => d.kind === "applied" && d.to !== undefined).length;

async function compare(t: Trained, m: Method, lab: Laboratory, context: BenchContext) {
  const rows: Cell[][] = [];
  const checks: Check[] = [];
  const points = {
    weighed: [] as [number, number][],
    plain: [] as [number, number][],
    allocated: [] as [number, number][],
  };
  const trial = async (label: string, step: Step): Promise<Outcome> => {
    const o = await lab.trial(step);
    context.say(
      `${t.name}, ${label}: ${o.mean.toFixed(2)} dB at ${(100 * o.flops).toFixed(1)} % of the operations`,
    );
    rows.push([t.name, label, factored(o), 100 * o.flops, o.mean, o.worst]);
    return o;
  };
  for (const ratio of m.ratios) {
    const at = `${(100 * ratio).toFixed(0)} % of each layer`;
    const weighed = await trial(`${m.weighed}, ${at}`, stepOf(m, { ratio }, "activations"));
    const plain = await trial(`${m.plain}, ${at}`, stepOf(m, { ratio }, "none"));
    points.weighed.push([100 * weighed.flops, weighed.mean]);
    points.plain.push([100 * plain.flops, plain.mean]);
    checks.push({
      name: `${t.name}, ${at}: gain of ${m.weighed} over ${m.plain} at equal ranks`,
      value: weighed.mean - plain.mean,
      relation: ">=",
      limit: 0.5,
      unit: "dB",
    });
  }
  for (const keep of m.allocates ? RATIOS.slice(0, 2) : []) {
    const o = await trial(
      `${m.weighed}, ${(100 * keep).toFixed(0)} % allocated`,
      stepOf(m, { keep }, "activations"),
    );
    points.allocated.push([100 * o.flops, o.mean]);
  }
  const plot: Plot = {
    name: `${t.name}-${m.pass}`,
    title: `${t.name}: what is left of the output`,
    x: "operations of the model, % of the original",
    y: "teacher-forced SQNR, dB",
    series: [
      ...(m.allocates ? [{ name: `${m.weighed}, ranks allocated`, points: points.allocated }] : []),
      { name: m.weighed, points: points.weighed },
      { name: m.plain, points: points.plain },
    ],
  };
  return { rows, checks, plot };
}

interface Comparison {
  readonly name: string;
  readonly title: string;
  readonly methods: readonly Method[];
  readonly note: string;
}

/** A case that tries some passes on the trained models. */
function comparison(c: Comparison): BenchCase {
  return {
    name: c.name,
    title: c.title,
    needs: TRAINED.map((t) => t.name),
    async run(context) {
      const rows: Cell[][] = [];
      const checks: Check[] = [];
      const plots: Plot[] = [];
      for (const t of TRAINED) {
        const methods = c.methods.filter((m) => m.models.some((x) => x === t.name));
        const lab = await openLaboratory({
          source: join(context.models, t.name),
          component: t.component,
          dims: t.dims,
          scratch: context.scratch.fresh(`${t.name}-exact`),
          steps: methods.map((m) => stepOf(m, { ratio: 0.5 }, "activations")),
        });
        try {
          for (const m of methods) {
            const found = await compare(t, m, lab, context);
            rows.push(...found.rows);
            checks.push(...found.checks);
            plots.push(found.plot);
          }
        } finally {
          await lab.close();
        }
      }
      return {
        columns: [
          "model",
          "method",
          "layers factored",
          "operations left, %",
          "SQNR mean, dB",
          "worst step, dB",
        ],
        rows,
        checks,
        plots,
        commands: [`npm run bench -- --only ${c.name}`],
        notes: [
          "Eight trajectories calibrate, eight others judge at ten of their 20 steps. Operations: of the whole model, both guidance halves.",
          c.note,
        ],
      };
    },
  };
}

/** Factors that know their inputs against factors that do not. */
export const factorizeShapes = comparison({
  name: "factorize-shapes",
  title: "factorization with and without knowledge of the inputs",
  methods: [SVD, TUCKER],
  note: "A share of each layer gives the same ranks with and without knowledge of the inputs; guarded layers stay as they are.",
});

/** The same of the heads of attentions. */
export const attentionShapes = comparison({
  name: "attention-shapes",
  title: "narrower heads with and without knowledge of the inputs",
  methods: [HEADS],
  note: "A share of the width of every head, of queries and keys and of values.",
});
