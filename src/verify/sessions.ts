import type { Model } from "../ir/graph.ts";
import type { Runtime, Session, SessionOptions } from "../runtime/index.ts";
import type { VerifyOptions } from "./options.ts";

/** Opens a session, hands it over, releases it whatever happens. */
export async function withSession<T>(
  runtime: Runtime,
  source: string | Model,
  options: SessionOptions,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await runtime.openSession(source, options);
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

/** How the session of a candidate is opened. */
export function candidateSession(o: Pick<VerifyOptions, "threads" | "arithmetic">): SessionOptions {
  return { threads: o.threads ?? 1, arithmetic: o.arithmetic ?? "fused" };
}

/** Lengths a build has fixed that the original leaves open, as `input.axis` and by symbol. */
export function fixedDims(before: Session, after: Session): Record<string, number> {
  const found: Record<string, number> = {};
  for (const port of before.inputs) {
    const other = after.inputs.find((p) => p.name === port.name);
    for (const [axis, dim] of port.shape.entries()) {
      const fixed = other?.shape[axis];
      if (typeof dim === "string" && typeof fixed === "number") {
        found[`${port.name}.${axis}`] = fixed;
        if (dim !== "?") found[dim] ??= fixed;
      }
    }
  }
  return found;
}
