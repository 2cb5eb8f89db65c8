import type { Dim } from "../ir/types.ts";
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

/** What a kernel of `com.microsoft.BiasSplitGelu` does not take about its input; `null` when it takes it. */
export function splitGeluProblem(
  widths: readonly number[] | null,
  { rank, width }: { readonly rank: number | undefined; readonly width: Dim | undefined },
): string | null {
  if (rank !== undefined && rank !== 3) return `its input has ${rank} axes, the kernel takes 3`;
  if (typeof width !== "number") return null;
  if (width % 2 !== 0) return `it is ${width} wide, which does not split in two`;
  return widths?.includes(width) === false
    ? `it is ${width} wide, kernels exist for ${widths.join(", ")}`
    : null;
}
