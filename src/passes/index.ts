import type { Pass } from "./pass.ts";

/**
 * Every pass, one line each, in the order the docs list them. Help, docs pages and the recipe schema come from here;
 * adding a pass is its file plus one line.
 */
export const passes: readonly Pass[] = [];

const BY_NAME = new Map(passes.map((p) => [p.name, p]));

/** The pass called `name`. */
export function findPass(name: string): Pass | undefined {
  return BY_NAME.get(name);
}
