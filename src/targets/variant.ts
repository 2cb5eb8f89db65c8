import type { Target } from "./target.ts";

/** A target in one of its variants: the default one is the target itself, others get `id:variant` for an id. */
export function overridden(target: Target, variant: string): Target {
  const { variants } = target;
  const chosen = variants?.of[variant];
  if (variants === undefined || chosen === undefined)
    throw new Error(`target ${target.id} has no variant "${variant}"`);
  if (variant === variants.default) return target;
  const { formats, spelling, limits, ...whole } = chosen.overrides;
  const { integerWhy: _, ...able } = target;
  return {
    // The reason for having no integers goes with them.
    ...(whole.integer == null ? target : able),
    ...whole,
    id: `${target.id}:${variant}`,
    title: `${target.title}, ${chosen.title}`,
    formats: { ...target.formats, ...formats },
    spelling: { ...target.spelling, ...spelling },
    limits: { ...target.limits, ...limits },
  };
}

/** Folder of a target's build: its id with a character every file system takes between id and variant. */
export function targetFolder(target: Pick<Target, "id">): string {
  return target.id.replace(":", "-");
}
