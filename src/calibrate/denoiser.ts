import { fail } from "../diagnostics/index.ts";
import { elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Session } from "../runtime/index.ts";
import { convert, floats, rows, stack } from "./dense.ts";
import { type InputRoles, inputRoles, type RoleNames } from "./roles.ts";

/** A denoiser that can be called: what the sampler needs and no more. */
export interface Denoiser {
  readonly roles: InputRoles;
  /**
   * Runs on a whole batch and returns its output, float32. Feeds are keyed by input name; batched ones have equal first
   * axes. Fails with DENOISER_OUTPUT_UNFIT or what the session fails with.
   */
  run(feeds: ReadonlyMap<string, Dense>): Promise<Dense>;
}

/** Names of the inputs whose first axis is the batch. */
export function batchedNames(roles: InputRoles): Set<string> {
  const names = roles.conditions.filter((c) => c.batched).map((c) => c.name);
  if (roles.timestep.layout === "batch") names.push(roles.timestep.name);
  return new Set([roles.sample.name, ...names]);
}

/** Repeats the last row until there are `count` rows. */
function padded(d: Dense, count: number): Dense {
  const have = d.dims[0]!;
  if (have >= count) return d;
  const last = rows(d, have - 1, have);
  return stack([d, ...Array.from({ length: count - have }, () => last)]);
}

/**
 * Feeds for the model's own dtypes, cut into pieces of the one batch size it takes; the last piece is padded with its
 * last row, whose results are thrown away. With any batch size there is one piece.
 */
export function feedPieces(
  roles: InputRoles,
  feeds: ReadonlyMap<string, Dense>,
): { readonly feeds: ReadonlyMap<string, Dense>; readonly rows: number }[] {
  const ports = [roles.sample, roles.timestep, ...roles.conditions];
  const typed = new Map<string, Dense>();
  for (const p of ports) {
    const d = feeds.get(p.name);
    if (d !== undefined) typed.set(p.name, convert(d, p.dtype));
  }
  const total = typed.get(roles.sample.name)!.dims[0]!;
  const size = roles.fixedBatch;
  if (size === null || size === total) return [{ feeds: typed, rows: total }];
  const names = batchedNames(roles);
  // Sample by sample, a time for the batch is a time per sample.
  if (size === 1 && roles.timestep.layout === "one") names.add(roles.timestep.name);
  const pieces = [];
  for (let from = 0; from < total; from += size) {
    const to = Math.min(from + size, total);
    const piece = new Map<string, Dense>();
    for (const [name, d] of typed) {
      // A time given per sample also serves a model that wants one time for the batch, and the other way round.
      piece.set(name, names.has(name) && d.dims[0] === total ? padded(rows(d, from, to), size) : d);
    }
    pieces.push({ feeds: piece, rows: to - from });
  }
  return pieces;
}

/** A denoiser on a loaded session; the session stays the caller's to release. */
export function sessionDenoiser(session: Session, names: RoleNames = {}): Denoiser {
  const roles = inputRoles(session.inputs, session.outputs, names);
  return {
    roles,
    async run(feeds) {
      const parts: Dense[] = [];
      for (const piece of feedPieces(roles, feeds)) {
        const results = await session.run(piece.feeds, [roles.output.name]);
        parts.push(rows(denoiserOutput(roles, results, piece.feeds), 0, piece.rows));
      }
      return stack(parts);
    },
  };
}

/** The denoiser's output among session results as float32, checked against its input. Fails with DENOISER_OUTPUT_UNFIT. */
function denoiserOutput(
  roles: InputRoles,
  results: ReadonlyMap<string, Dense>,
  feeds: ReadonlyMap<string, Dense>,
): Dense {
  const out = results.get(roles.output.name);
  const sample = feeds.get(roles.sample.name);
  if (out === undefined || sample === undefined) throw new Error("the session returned no denoiser output");
  const one = elementCount(sample.dims);
  const count = elementCount(out.dims);
  if (out.dims[0] !== sample.dims[0] || (count !== one && count !== 2 * one)) {
    fail("DENOISER_OUTPUT_UNFIT", {
      output: roles.output.name,
      found: `${out.dtype}[${out.dims.join(", ")}]`,
      expected: `[${sample.dims.join(", ")}], or twice its channels`,
    });
  }
  const values = floats(out);
  return {
    dtype: "f32",
    dims: out.dims,
    bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  };
}
