import { mkdtemp, open, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Dense } from "../../src/ir/evaluator.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { openArtifacts } from "../../src/runtime/artifacts.ts";
import { sha256 } from "../../src/runtime/hash.ts";
import { createRuntime } from "../../src/runtime/index.ts";
import { quantizeChannel } from "../../src/runtime/kernels/quantize-channel.ts";
import { weights } from "./kernels/evaluate.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "diffpress-test-"));
});
afterEach(() => rm(folder, { recursive: true }));

const artifact = (n: number): Dense[] => [
  { dtype: "u8", dims: [1000], bytes: new Uint8Array(1000).fill(n) },
  { dtype: "f32", dims: [1], bytes: Uint8Array.of(n, 0, 0, 0) },
];
const key = (n: number): string => sha256(`artifact ${n}`);
const place = (k: string): string => join(folder, "objects", k.slice(0, 2), k);

test("what was put is got, by this store and by another on the same folder", async () => {
  const a = await openArtifacts(folder, 1e6);
  expect(await a.get(key(1), artifact(1))).toBeNull();
  await a.put(key(1), artifact(1));
  const b = await openArtifacts(folder, 1e6);
  for (const s of [a, b]) expect(await s.get(key(1), artifact(1))).toEqual(artifact(1));
  expect(await readdir(join(folder, "tmp"))).toEqual([]);
});

test.each([
  ["a flipped bit in the data", 500],
  ["a flipped bit in the checksum", 10],
  ["a flipped bit in the first bytes", 2],
])("%s is noticed and the artifact removed", async (_, at) => {
  const store = await openArtifacts(folder, 1e6);
  await store.put(key(1), artifact(1));
  const handle = await open(place(key(1)), "r+");
  const byte = new Uint8Array(1);
  await handle.read(byte, 0, 1, at);
  byte[0]! ^= 4;
  await handle.write(byte, 0, 1, at);
  await handle.close();
  expect(await store.get(key(1), artifact(1))).toBeNull();
  expect(await readdir(join(folder, "objects", key(1).slice(0, 2)))).toEqual([]);
});

test("truncated, empty and mistyped artifacts count as missing", async () => {
  const store = await openArtifacts(folder, 1e6);
  for (const n of [1, 2]) await store.put(key(n), artifact(n));
  await writeFile(place(key(1)), (await readFile(place(key(1)))).subarray(0, 300));
  expect(await store.get(key(1), artifact(1))).toBeNull();
  expect(await store.get(key(2), [{ dtype: "u8", dims: [7] }])).toBeNull();
  await store.put(key(2), artifact(2));
  await writeFile(place(key(2)), "");
  expect(await store.get(key(2), artifact(2))).toBeNull();
});

test("a writer that died leaves nothing that counts", async () => {
  const store = await openArtifacts(folder, 1e6);
  await writeFile(join(folder, "tmp", "half-written"), new Uint8Array(100));
  expect(await store.get(key(1), artifact(1))).toBeNull();
  await store.put(key(1), artifact(1));
  expect(await store.get(key(1), artifact(1))).toEqual(artifact(1));
});

test("the least recently used artifacts go first when the limit is passed", async () => {
  const store = await openArtifacts(folder, 5 * 1044);
  for (let n = 0; n < 5; n++) {
    await store.put(key(n), artifact(n));
    // File times may be coarse: give each its own second.
    await utimes(place(key(n)), 1e9 + n, 1e9 + n);
  }
  // Reading marks 0 as used now, so 1 and 2 are the oldest.
  expect(await store.get(key(0), artifact(0))).toEqual(artifact(0));
  await store.put(key(5), artifact(5));
  const left: number[] = [];
  for (let n = 0; n < 6; n++) if ((await store.get(key(n), artifact(n))) !== null) left.push(n);
  expect(left).toEqual([0, 3, 4, 5]);
});

test("artifacts larger than the store, and stores that cannot be written, are passed over", async () => {
  const store = await openArtifacts(folder, 500);
  await store.put(key(1), artifact(1));
  expect(await store.get(key(1), artifact(1))).toBeNull();
  const other = await openArtifacts(folder, 1e6);
  await rm(join(folder, "tmp"), { recursive: true });
  await other.put(key(2), artifact(2));
  expect(await other.get(key(2), artifact(2))).toBeNull();
});

test("a folder that cannot be made is a coded error", async () => {
  await writeFile(join(folder, "file"), "");
  await expect(openArtifacts(join(folder, "file", "cache"), 1e6)).rejects.toMatchObject({
    code: "CACHE_UNUSABLE",
  });
});

test("writers and readers at the same time never see a half artifact", async () => {
  const stores = await Promise.all([0, 1, 2].map(() => openArtifacts(folder, 20 * 1044)));
  await Promise.all(
    stores.flatMap((s, i) =>
      Array.from({ length: 30 }, async (_, n) => {
        await s.put(key((n + i) % 25), artifact((n + i) % 25));
        const k = (n * 7 + i) % 25;
        const got = await s.get(key(k), artifact(k));
        if (got !== null) expect(got).toEqual(artifact(k));
      }),
    ),
  );
  let bytes = 0;
  for (const group of await readdir(join(folder, "objects"))) {
    bytes += (await readdir(join(folder, "objects", group))).length * 1044;
  }
  expect(bytes).toBeLessThanOrEqual(22 * 1044);
});

test("a runtime with a cache evaluates once over two runs and gives the same bytes", async () => {
  const run = async (): Promise<{ bytes: Uint8Array; evaluations: number; hits: number }> => {
    const runtime = await createRuntime({ workers: 0, cacheDir: join(folder, "cache") });
    const q = quantizeChannel(f32Tensor(weights(64), [8, 8]), { bits: 8, axis: 0 });
    const bytes = await runtime.reader.read(q.data);
    const { evaluations, artifactHits } = runtime.stats;
    await runtime.close();
    return { bytes, evaluations, hits: artifactHits };
  };
  const first = await run();
  const second = await run();
  expect([first.evaluations, first.hits]).toEqual([1, 0]);
  expect([second.evaluations, second.hits]).toEqual([0, 1]);
  expect(second.bytes).toEqual(first.bytes);
});
