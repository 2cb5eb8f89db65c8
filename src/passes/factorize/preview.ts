import type { ProductWork } from "../../targets/cost/product.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { assumedText, counted, mega } from "../preview-text.ts";
import { flopsOf, obstacle } from "./allocate.ts";
import type { Lengths } from "./lengths.ts";
import type { Budget } from "./options.ts";

/** A form that layers could be written in. */
export interface PlannedForm {
  /** `rank 16`, `ranks 32, 16`. */
  readonly text: string;
  readonly work: readonly ProductWork[];
  readonly bytes: number;
}

/** Layers that would be factored together, as a preview sees them. */
export interface PlannedGroup {
  /** Name of the first layer. */
  readonly name: string;
  /** `320×1280`, with the number of layers where there are several. */
  readonly size: string;
  readonly original: readonly ProductWork[];
  readonly bytes: number;
  /** The form the options ask for, or every form from the smallest where spectra will decide. */
  readonly forms: readonly [PlannedForm] | { readonly upTo: Iterable<PlannedForm> };
}

function lineOf(g: PlannedGroup, form: PlannedForm, of: string): PreviewLine {
  const share = flopsOf(form.work) / flopsOf(g.original);
  return {
    subject: g.name,
    what: `${g.size}: ${of}${form.text}, ${(100 * share).toFixed(1)} % of the operations, ${g.bytes} bytes become ${form.bytes}`,
  };
}

/** The last form before the first that does not pay; `null` where none does. */
function largestPaying(
  g: PlannedGroup,
  forms: Iterable<PlannedForm>,
  ctx: PreviewContext,
): PlannedForm | null {
  let best: PlannedForm | null = null;
  for (const form of forms) {
    if (obstacle(ctx.target, g.original, form.work) !== null) break;
    best = form;
  }
  return best;
}

function planOf(g: PlannedGroup, ctx: PreviewContext): { line: PreviewLine; form: PlannedForm | null } {
  if (!("upTo" in g.forms)) {
    const [form] = g.forms;
    const why = obstacle(ctx.target, g.original, form.work);
    if (why === null) return { line: lineOf(g, form, ""), form };
    return {
      line: { subject: g.name, what: `${g.size} stays as it is at ${form.text}: ${why}` },
      form: null,
    };
  }
  const form = largestPaying(g, g.forms.upTo, ctx);
  return form === null
    ? { line: { subject: g.name, what: `${g.size}: no rank pays on the target` }, form }
    : { line: lineOf(g, form, "any up to "), form };
}

/**
 * Groups of layers with the ranks they would get, or the largest that pay where spectra share out the operations that
 * are kept.
 */
export function previewFactors(
  groups: readonly PlannedGroup[],
  lengths: Lengths,
  { keep }: Budget,
  ctx: PreviewContext,
): PreviewLine[] {
  const plans = groups.map((g) => ({ g, ...planOf(g, ctx) }));
  const sum = (of: (p: (typeof plans)[number]) => number): number => plans.reduce((n, p) => n + of(p), 0);
  const flops = [
    sum(({ g }) => flopsOf(g.original)),
    sum(({ g, form }) => flopsOf(form?.work ?? g.original)),
  ] as const;
  const bytes = [sum(({ g }) => g.bytes), sum(({ g, form }) => form?.bytes ?? g.bytes)] as const;
  const planned =
    keep === undefined
      ? `${mega(flops[0])} become ${mega(flops[1])}, ${bytes[0]} bytes ${bytes[1]}`
      : `${mega(flops[0])} and ${bytes[0]} bytes before, ${mega(keep * flops[0])} asked for`;
  return [
    {
      subject: "",
      what: `${counted(groups.length, "group")} of layers; ${planned}${assumedText(lengths.assumed, lengths.bindings)}`,
    },
    ...plans.map((p) => p.line),
  ];
}
