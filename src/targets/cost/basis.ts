import type { DType } from "../../ir/dtype.ts";
import type { Machine } from "../machine.ts";

const BASES: Readonly<Record<Machine["basis"], string>> = {
  measured: "rates fitted to measured kernel times",
  published: "published peaks and every node by itself, so a lower bound but for what compilers fuse",
  mixed: "published peaks of products, all else as measured on an AVX2 core",
};

/** What a machine's rates are, for people, and types whose arithmetic has none. */
export function ratesText(machine: Machine, uncounted: readonly DType[]): string {
  const missing =
    uncounted.length === 0
      ? ""
      : `; arithmetic in ${uncounted.join(", ")} is not counted: no rate is published`;
  return `${BASES[machine.basis]}${missing}`;
}

/** Where an estimate comes from, for people: the machine and its rates. */
export function basisOf(machine: Machine, uncounted: readonly DType[]): string {
  return `roofline of ${machine.name}: ${ratesText(machine, uncounted)}`;
}
