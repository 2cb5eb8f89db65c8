import { count, hasInput } from "./shape-rules.ts";
import type { OpSpec } from "./spec.ts";

/** Operators on optional values. */
export const optionalsOps: readonly OpSpec[] = [
  {
    op: "Optional",
    domain: "",
    versions: [15],
    inputs: count(0, 1),
    outputs: count(1),
    infer: (ctx) => {
      const given = ctx.attr("type");
      const element = hasInput(ctx, 0) ? ctx.type(0) : given?.kind === "type" ? given.value : null;
      ctx.setType(0, element === null ? null : { kind: "optional", element });
    },
  },
  {
    op: "OptionalHasElement",
    domain: "",
    versions: [15, 18],
    inputs: count(0, 1),
    outputs: count(1),
    infer: (ctx) => ctx.set(0, "bool", []),
  },
  {
    op: "OptionalGetElement",
    domain: "",
    versions: [15, 18],
    inputs: count(1),
    outputs: count(1),
    // Since version 18 the input may be a tensor or sequence, which is passed on.
    infer: (ctx) => {
      const t = ctx.type(0);
      ctx.setType(0, t?.kind === "optional" ? t.element : t);
    },
  },
];
