import type { FusedShapeLimits } from "./limits.ts";

/** What `com.microsoft.GroupNorm` is to normalise; a rank that is unknown restricts nothing. */
export interface GroupShape {
  readonly rank: number | undefined;
  readonly channels: number;
  readonly groups: number;
}

/** What a kernel of `com.microsoft.GroupNorm` does not take about a shape; `null` when it takes it. */
export function groupProblem(
  limits: Pick<FusedShapeLimits, "evenChannels" | "groupMax">,
  { rank, channels, groups }: GroupShape,
): string | null {
  if (rank !== undefined && rank !== 4) return `its input has ${rank} axes, the kernel takes 4`;
  if (groups < 1 || channels % groups !== 0) return `${channels} channels do not make ${groups} groups`;
  const each = channels / groups;
  if (limits.evenChannels && each % 2 !== 0)
    return `it has ${each} channels per group, the kernel takes even numbers`;
  if (limits.groupMax !== undefined && each > limits.groupMax)
    return `it has ${each} channels per group, the kernel takes up to ${limits.groupMax}`;
  return null;
}
