import { writeFile } from "node:fs/promises";
import { fail } from "../../diagnostics/index.ts";
import { type DType, elementCount } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { Json } from "../../ir/tensor.ts";
import { canonicalJson, sha256 } from "../../runtime/hash.ts";
import { type Npz, readNpz } from "../npz.ts";
import { npzBytes } from "../write-npz.ts";
import { type ArtifactHeader, headerProblem } from "./artifact-header.ts";
import { statisticsOf } from "./collect.ts";
import { gramStatistics } from "./gram.ts";
import type { TeacherSettings } from "./teacher.ts";
import type { GramRequest, GramStatistics, Statistics, StatisticsRequest, ValueStatistics } from "./types.ts";

/** Statistics of a model with what they were collected on: all that is needed to use them again. */
export interface StatisticsArtifact {
  /** sha256 of the input: model, weights and descriptions. */
  readonly source: string;
  readonly settings: TeacherSettings;
  /** What was asked for. */
  readonly request: StatisticsRequest;
  readonly statistics: Statistics;
  /** Moments of each value at the first call's inputs; see {@link witness}. */
  readonly witnesses: ReadonlyMap<string, Float32Array>;
}

const moments = ["min", "max", "mean", "square"] as const;

const view = (dtype: DType, dims: readonly number[], a: Float64Array | Float32Array): Dense => ({
  dtype,
  dims,
  bytes: new Uint8Array(a.buffer, a.byteOffset, a.byteLength),
});

/** Lower triangle of a symmetric matrix, row by row. */
function packed(matrix: Float64Array, size: number): Float64Array {
  const out = new Float64Array((size * (size + 1)) / 2);
  for (let i = 0, at = 0; i < size; at += ++i) out.set(matrix.subarray(i * size, i * size + i + 1), at);
  return out;
}

function unpacked(triangle: Float64Array, size: number): Float64Array {
  const out = new Float64Array(size * size);
  for (let i = 0, at = 0; i < size; i++)
    for (let j = 0; j <= i; j++) {
      const v = triangle[at++]!;
      out[i * size + j] = v;
      out[j * size + i] = v;
    }
  return out;
}

/** What the hash in the header covers: the rest of the header, and every array. */
function contentHash(header: Omit<ArtifactHeader, "sha256">, arrays: Npz): string {
  const listed = [...arrays].map(([name, d]): Json => [name, d.dtype, d.dims, sha256(d.bytes)]);
  return sha256(canonicalJson([header as unknown as Json, listed]));
}

/** An artifact as the bytes of an npz archive: `header` is JSON, the other arrays are named after its entries. */
export function artifactBytes(artifact: StatisticsArtifact): Uint8Array {
  const { statistics, request } = artifact;
  const calls = statistics.calls.length;
  const arrays = new Map<string, Dense>();
  const values: ArtifactHeader["values"][number][] = [];
  for (const { name, axis } of request.values) {
    const v = statistics.value(name);
    const seen = artifact.witnesses.get(name);
    if (v === undefined || seen === undefined) continue;
    const at = `v${values.length}`;
    for (const m of moments) arrays.set(`${at}.${m}`, view("f64", [calls, v.channels], v[m]));
    if (v.rows > 0) arrays.set(`${at}.sample`, view("f32", [calls, v.rows, v.channels], v.sample));
    arrays.set(`${at}.witness`, view("f32", [seen.length], seen));
    values.push({ name, axis, channels: v.channels, count: v.count, rows: v.rows });
  }
  const grams: ArtifactHeader["grams"][number][] = [];
  // Layers that read one value the same way share one Gram.
  const stored = new Map<readonly Float64Array[], number>();
  for (const r of request.grams) {
    const g = statistics.gram(r.layer);
    if (g === undefined) continue;
    let data = stored.get(g.sums);
    if (data === undefined) {
      data = stored.size;
      stored.set(g.sums, data);
      arrays.set(`g${data}.sum`, view("f64", [(g.size * (g.size + 1)) / 2], packed(g.sums[0]!, g.size)));
      arrays.set(`g${data}.mean`, view("f64", [g.size], g.means[0]!));
    }
    const { layer, value, axis, unfold } = r;
    const { size, rank, exact } = g;
    grams.push({ layer, value, axis, unfold, data, size, positions: g.positions[0]!, rank, exact });
  }
  const header = {
    format: "diffpress-statistics" as const,
    version: 1 as const,
    source: artifact.source,
    settings: artifact.settings,
    calls: statistics.calls.map(({ timestep, weight }) => ({ timestep, weight })),
    values,
    grams,
  };
  const text = JSON.stringify({ ...header, sha256: contentHash(header, arrays) });
  const bytes = new TextEncoder().encode(text);
  return npzBytes(new Map([["header", { dtype: "u8", dims: [bytes.length], bytes }], ...arrays]));
}

/** Writes an artifact and returns its size in bytes. */
export async function writeArtifact(file: string, artifact: StatisticsArtifact): Promise<number> {
  const bytes = artifactBytes(artifact);
  await writeFile(file, bytes);
  return bytes.length;
}

/**
 * Reads an artifact. Everything the header promises is checked against the arrays before anything is used. Fails with
 * STATISTICS_INVALID, NPZ_INVALID, NPZ_TOO_LARGE or PIPELINE_FILE_MISSING.
 */
export async function readArtifact(file: string): Promise<StatisticsArtifact> {
  const arrays = new Map(await readNpz(file, "the statistics"));
  const bad = (problem: string): never => fail("STATISTICS_INVALID", { file, problem });
  const bytes = arrays.get("header") ?? bad("it has no header");
  arrays.delete("header");
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.bytes));
  } catch {
    return bad("the header is not JSON");
  }
  const problem = headerProblem(parsed);
  if (problem !== null) return bad(problem);
  const { sha256: expected, ...header } = parsed as ArtifactHeader;
  if (contentHash(header, arrays) !== expected) return bad("its content does not match its hash");
  const calls = header.calls.length;
  const array = (name: string, dtype: "f64" | "f32", dims: readonly number[]): Dense => {
    const d = arrays.get(name);
    if (d === undefined || d.dtype !== dtype || d.dims.join() !== dims.join())
      return bad(`array ${name} is missing or not ${dtype}[${dims.join(", ")}]`);
    if (!Number.isSafeInteger(elementCount(dims))) return bad(`array ${name} is too large`);
    return d;
  };
  const f64 = (name: string, ...dims: number[]): Float64Array =>
    new Float64Array(array(name, "f64", dims).bytes.slice().buffer);
  const f32 = (name: string, ...dims: number[]): Float32Array =>
    new Float32Array(array(name, "f32", dims).bytes.slice().buffer);
  const values = new Map<string, ValueStatistics>();
  const witnesses = new Map<string, Float32Array>();
  for (const [i, v] of header.values.entries()) {
    const { name, channels, count, rows } = v;
    const of = (m: (typeof moments)[number]): Float64Array => f64(`v${i}.${m}`, calls, channels);
    const sample = rows === 0 ? new Float32Array(0) : f32(`v${i}.sample`, calls, rows, channels);
    values.set(name, {
      name,
      channels,
      count,
      rows,
      min: of("min"),
      max: of("max"),
      mean: of("mean"),
      square: of("square"),
      sample,
    });
    witnesses.set(name, f32(`v${i}.witness`, 2 * channels));
  }
  const grams = new Map<string, GramStatistics>();
  const shared = new Map<number, Pick<GramStatistics, "sums" | "means">>();
  for (const g of header.grams) {
    const triangle = (g.size * (g.size + 1)) / 2;
    const data = shared.get(g.data) ?? {
      sums: [unpacked(f64(`g${g.data}.sum`, triangle), g.size)],
      means: [f64(`g${g.data}.mean`, g.size)],
    };
    if (data.means[0]!.length !== g.size) return bad(`layer ${g.layer} has the Gram of another size`);
    shared.set(g.data, data);
    const { layer, size, positions, exact } = g;
    grams.set(layer, gramStatistics({ layer, size, ...data, positions: [positions], exact }, g.rank));
  }
  const request: StatisticsRequest = {
    values: header.values.map(({ name, axis, rows }) => ({ name, axis, rows })),
    grams: header.grams.map(
      ({ layer, value, axis, unfold }): GramRequest => ({ layer, value, axis, unfold }),
    ),
  };
  const statistics = statisticsOf(header.calls, values, grams);
  return { source: header.source, settings: header.settings, request, statistics, witnesses };
}
