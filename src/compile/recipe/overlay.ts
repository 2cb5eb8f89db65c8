import { passGroups } from "../../passes/index.ts";
import type { Stage, StageEntry, StageOptions } from "./types.ts";

interface Named {
  readonly name: string;
  readonly options: StageOptions;
}

/** One entry as a list of passes: a group stands for its members. */
function expand(entry: StageEntry): Named[] {
  const [name, options] = typeof entry === "string" ? [entry, {} as StageOptions] : Object.entries(entry)[0]!;
  const group = passGroups[name];
  return group === undefined
    ? [{ name, options }]
    : group.map((member) => ({ name: member, options: options === null ? null : {} }));
}

/** Overrides per pass, groups expanded. */
export function expandOverrides(overrides: {
  readonly [name: string]: StageOptions;
}): Map<string, StageOptions> {
  const out = new Map<string, StageOptions>();
  for (const [name, options] of Object.entries(overrides))
    for (const one of expand({ [name]: options })) out.set(one.name, one.options);
  return out;
}

/** Lays a list of passes over another: the k-th entry of a name changes the k-th the base has, others are put in. */
export function overlay(base: readonly Stage[], entries: readonly StageEntry[]): Stage[] {
  const out: (Stage | null)[] = [...base];
  const met = new Map<string, number>();
  let after = -1;
  for (const { name, options } of entries.flatMap(expand)) {
    const nth = met.get(name) ?? 0;
    met.set(name, nth + 1);
    let seen = 0;
    const at = out.findIndex((s) => s !== null && s.name === name && seen++ === nth);
    if (at >= 0) {
      const old = out[at]!;
      out[at] = options === null ? null : { name, options: { ...old.options, ...options } };
      if (options === null) met.set(name, nth);
      after = Math.max(after, at);
    } else if (options !== null) {
      const place = after < 0 ? out.length : after + 1;
      out.splice(place, 0, { name, options });
      after = place;
    }
  }
  return out.filter((s): s is Stage => s !== null);
}
