import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { unzipSync, zipSync } from "fflate";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  collectFrom,
  collectReusing,
  layerRequest,
  openPipeline,
  openTeacher,
  type Pipeline,
  readArtifact,
  type StatisticsArtifact,
  type StatisticsRequest,
  summarise,
  type Teacher,
  witness,
  writeArtifact,
} from "../../../src/calibrate/index.ts";
import { artifactBytes } from "../../../src/calibrate/statistics/artifact.ts";
import { DiffpressError } from "../../../src/diagnostics/index.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { PatchBuilder } from "../../../src/ir/patch.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { cleanDenoiser, identical } from "./fetched.ts";

const FIXTURE = fileURLToPath(new URL("../../../fixtures/cifar-unet", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-statistics-"));
const file = join(dir, "stats.npz");

let runtime: Runtime;
let pipeline: Pipeline;
let model: Model;
let teacher: Teacher;
let artifact: StatisticsArtifact;

beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  pipeline = await openPipeline(FIXTURE);
  model = await cleanDenoiser(pipeline.denoiser!.model, runtime);
  teacher = await openTeacher(runtime, pipeline, {
    steps: 2,
    samples: 2,
    seed: 3,
    keepBytes: 1e8,
    original: model,
  });
  const all = layerRequest(model, { gram: true, rows: 4 });
  const request: StatisticsRequest = { values: all.values.slice(0, 24), grams: all.grams.slice(0, 10) };
  artifact = {
    source: "a".repeat(64),
    settings: teacher.settings,
    request,
    statistics: await collectFrom(teacher, { model, runtime, pipeline, request }),
    witnesses: await witness(teacher, { model, runtime, pipeline, values: request.values }),
  };
  await writeArtifact(file, artifact);
});
afterAll(async () => {
  await teacher.release();
  await runtime.close();
  rmSync(dir, { recursive: true, force: true });
});

async function codeOf(bytes: Uint8Array): Promise<string> {
  const at = join(dir, "bad.npz");
  writeFileSync(at, bytes);
  try {
    await readArtifact(at);
  } catch (e) {
    if (e instanceof DiffpressError) return e.diagnostic.code;
    throw e;
  }
  return "read";
}

/** The archive with one entry changed. */
function changed(name: string, change: (bytes: Uint8Array) => Uint8Array<ArrayBuffer> | null): Uint8Array {
  const entries = unzipSync(readFileSync(file));
  const found = change(entries[name]!);
  if (found === null) delete entries[name];
  else entries[name] = found;
  return zipSync(entries);
}

const headerChanged = (edit: (text: string) => string): Uint8Array =>
  changed("header.npy", (bytes) => {
    const text = new TextEncoder().encode(edit(new TextDecoder().decode(bytes.subarray(128))));
    const head = `{'descr': '|u1', 'fortran_order': False, 'shape': (${text.length},), }`.padEnd(117);
    return Uint8Array.from(
      Buffer.concat([bytes.subarray(0, 8), Uint8Array.of(118, 0), Buffer.from(`${head}\n`), text]),
    );
  });

describe("statistics as a file", () => {
  it("come back as they were, and equal ones are equal files", async () => {
    const back = await readArtifact(file);
    expect(back.settings).toEqual(artifact.settings);
    expect(back.statistics.calls).toEqual(artifact.statistics.calls);
    expect(back.request.grams.length).toBeGreaterThan(5);
    for (const { name } of artifact.request.values)
      expect(back.statistics.value(name)).toEqual(artifact.statistics.value(name));
    for (const { layer } of artifact.request.grams) {
      const [found, original] = [back.statistics.gram(layer), artifact.statistics.gram(layer)];
      expect(identical(found?.sums, original?.sums)).toBe(true);
      expect(found?.rank).toBe(original?.rank);
    }
    expect(summarise(back)).toEqual(summarise(artifact));
    expect(Buffer.compare(artifactBytes(back), readFileSync(file))).toBe(0);
  });

  it("summarise ranges and ranks", () => {
    const { values, grams } = summarise(artifact);
    expect(values.find((v) => v.name === "sample")).toMatchObject({ channels: 3 });
    for (const v of values) {
      expect(v.rangeRatio).toBeGreaterThanOrEqual(1);
      expect(v.outlierRatio).toBeGreaterThanOrEqual(1);
      expect(v.max).toBeGreaterThanOrEqual(v.min);
    }
    for (const g of grams) expect(g.rank).toBeLessThanOrEqual(Math.min(g.size, g.positions));
  });

  it("are refused when anything in them was changed", async () => {
    const whole = new Uint8Array(readFileSync(file));
    expect(await codeOf(whole)).toBe("read");
    expect(await codeOf(whole.subarray(0, whole.length >> 1))).toBe("NPZ_INVALID");
    const flipped = changed("v0.max.npy", (b) => {
      const copy = b.slice();
      copy[copy.length - 1]! ^= 1;
      return copy;
    });
    expect(await codeOf(flipped)).toBe("STATISTICS_INVALID");
    expect(await codeOf(changed("v1.mean.npy", () => null))).toBe("STATISTICS_INVALID");
    expect(await codeOf(changed("header.npy", () => null))).toBe("STATISTICS_INVALID");
    expect(await codeOf(headerChanged((t) => t))).toBe("read");
    expect(await codeOf(headerChanged(() => "{"))).toBe("STATISTICS_INVALID");
    expect(await codeOf(headerChanged((t) => t.replace('"version":1', '"version":2')))).toBe(
      "STATISTICS_INVALID",
    );
    expect(await codeOf(headerChanged((t) => t.replace(/"rank":\d+/, '"rank":1')))).toBe(
      "STATISTICS_INVALID",
    );
    expect(await codeOf(headerChanged((t) => t.replace(/"channels":\d+/, '"channels":9000000')))).toBe(
      "STATISTICS_INVALID",
    );
  });

  it("never crash the reader, whatever byte is broken", async () => {
    const whole = new Uint8Array(readFileSync(file));
    const rng = createRng(1);
    for (let i = 0; i < 30; i++) {
      const copy = whole.slice();
      // Near the end lies the directory of the archive, where most harm can be done.
      const at = i % 2 === 0 ? rng.int(copy.length) : copy.length - 1 - rng.int(4000);
      copy[at] = rng.int(256);
      expect(["read", "NPZ_INVALID", "NPZ_TOO_LARGE", "STATISTICS_INVALID"]).toContain(await codeOf(copy));
    }
  });
});

describe("reused statistics", () => {
  /** The model with the name of a value handed to something else: what a rewrite could do. */
  function renamed(name: string): Model {
    const copy = cloneModel(model);
    const { graph } = copy;
    const value = [...graph.values()].find((v) => v.name === name)!;
    const node = graph.producer(value.id)!;
    const patch = new PatchBuilder(graph, "rename");
    const raw = patch.value("raw");
    patch.remove(node.id);
    patch.insert({ ...node, outputs: [raw] });
    patch.insert({
      ...node,
      id: graph.ids.node(),
      name: "twice",
      op: "Mul",
      attrs: new Map(),
      inputs: [raw, patch.constant(f32Tensor([2], []))],
      outputs: [value.id],
    });
    patch.apply();
    return copy;
  }

  it("are taken where a name still stands for the same tensor, and collected elsewhere", async () => {
    const { request } = artifact;
    const target = request.values.find((v, i) => i > 4 && v.name.includes("Conv"))!.name;
    const reused = await collectReusing(artifact, teacher, { model, runtime, pipeline, request });
    for (const { name } of request.values) expect(reused.value(name)).toBe(artifact.statistics.value(name));
    const other = renamed(target);
    const mixed = await collectReusing(artifact, teacher, { model: other, runtime, pipeline, request });
    const fresh = await collectFrom(teacher, { model: other, runtime, pipeline, request });
    expect(mixed.value("sample")).toBe(artifact.statistics.value("sample"));
    expect(mixed.value(target)).not.toBe(artifact.statistics.value(target));
    expect(mixed.value(target)).toEqual(fresh.value(target));
  });

  it("are collected anew where more positions or buckets are asked for", async () => {
    const { name, axis } = artifact.request.values.find((v) => v.name === "sample")!;
    const gram = artifact.request.grams[0]!;
    const request = {
      values: [{ name, axis, rows: 8 }],
      grams: [{ ...gram, buckets: [[0], [1]] }],
    };
    const s = await collectReusing(artifact, teacher, { model, runtime, pipeline, request });
    expect(s.value(name)!.rows).toBe(8);
    expect(s.gram(gram.layer)!.sums).toHaveLength(2);
  });
});
