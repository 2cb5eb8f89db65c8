import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { compareModels } from "../../../scripts/conformance/wire.ts";
import { DiffpressError } from "../../../src/diagnostics/index.ts";
import { decodeModel, encodeModel, fileReader, readModel } from "../../../src/ir/onnx/index.ts";
import {
  entry,
  float,
  graph,
  info,
  int,
  model,
  msg,
  node,
  packed,
  rawTensor,
  sub,
  tensorTypeProto,
  unknown,
} from "./proto.ts";

const folder = mkdtempSync(join(tmpdir(), "diffpress-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const type = tensorTypeProto(1, ["N", 2, null]);

/** A small model with one of everything the reader has a branch for. */
const VALID = model(
  graph({
    nodes: [
      node(
        "Elu",
        ["x"],
        ["h"],
        sub(3, "n"),
        sub(5, msg(sub(1, "alpha"), float(2, 0.5), int(20, 1))),
        ...unknown(),
      ),
      node(
        "If",
        ["c"],
        ["y"],
        sub(
          5,
          msg(
            sub(1, "then_branch"),
            sub(6, graph({ nodes: [node("Neg", ["h"], ["t"])], outputs: [info("t", type)] })),
            int(20, 5),
          ),
        ),
        sub(5, msg(sub(1, "axes"), packed(8, [1, -1]), int(20, 7))),
        sub(5, msg(sub(1, "value"), sub(5, rawTensor("", [1, 2])), int(20, 4))),
      ),
      node("F", ["y"], ["z"], sub(7, "d")),
    ],
    inputs: [info("x", type), info("c", tensorTypeProto(9, []))],
    outputs: [info("z", msg(sub(4, msg(sub(1, type)))))],
    initializers: [
      rawTensor("w", [1, 2, 3]),
      msg(int(1, 3), int(2, 7), sub(8, "i"), packed(7, [1, -2, 300])),
      msg(int(1, 1), int(2, 8), sub(8, "s"), sub(6, "text")),
      msg(
        int(1, 1),
        int(2, 1),
        sub(8, "e"),
        entry(13, "location", "data.bin"),
        entry(13, "offset", "4"),
        int(14, 1),
      ),
    ],
    more: [
      sub(13, info("h", type)),
      sub(
        15,
        msg(sub(1, rawTensor("sp", [1])), sub(2, msg(int(1, 1), int(2, 7), packed(7, [0]))), packed(3, [4])),
      ),
    ],
  }),
  sub(25, msg(sub(1, "F"), sub(10, "d"), sub(4, "a"), sub(5, "b"), sub(7, node("Neg", ["a"], ["b"])))),
);
const path = join(folder, "model.onnx");
writeFileSync(join(folder, "data.bin"), Buffer.alloc(64, 1));

/** Reading hostile bytes either fails with a diagnostic or gives a model that survives its own round trip. */
async function survives(bytes: Uint8Array): Promise<void> {
  let read: ReturnType<typeof decodeModel>;
  try {
    read = decodeModel(bytes, path);
  } catch (e) {
    if (!(e instanceof DiffpressError)) throw e;
    return;
  }
  const again = await encodeModel(read, fileReader());
  expect(compareModels(await encodeModel(decodeModel(again, path), fileReader()), again)).toEqual([]);
}

test("the model itself is read and comes back", async () => {
  expect(decodeModel(VALID, path).graph.nodeCount).toBe(3);
  await survives(VALID);
});

test("every single changed byte", async () => {
  for (let at = 0; at < VALID.length; at++)
    for (const value of [0x00, 0x7f, 0x80, 0xff, VALID[at]! ^ 1, VALID[at]! ^ 8]) {
      const bytes = new Uint8Array(VALID);
      bytes[at] = value;
      await survives(bytes);
    }
});

test("random edits: overwritten, cut out, repeated and inserted ranges", async () => {
  const edit = fc.record({
    kind: fc.constantFrom("set", "cut", "repeat", "insert"),
    at: fc.nat(VALID.length - 1),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 6 }), async (edits) => {
      let bytes = Buffer.from(VALID);
      for (const { kind, at, bytes: more } of edits) {
        const head = bytes.subarray(0, at);
        const tail = bytes.subarray(at);
        if (kind === "set") bytes = Buffer.concat([head, more, tail.subarray(more.length)]);
        else if (kind === "cut") bytes = Buffer.concat([head, tail.subarray(more.length)]);
        else if (kind === "repeat") bytes = Buffer.concat([head, tail.subarray(0, more.length), tail]);
        else bytes = Buffer.concat([head, more, tail]);
      }
      await survives(bytes);
    }),
    { numRuns: 1500, seed: 7 },
  );
});

test("random bytes, in memory and as a file", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
      await survives(bytes);
      writeFileSync(path, bytes);
      await readModel(path).catch((e) => {
        if (!(e instanceof DiffpressError)) throw e;
      });
    }),
    { numRuns: 400, seed: 11 },
  );
});
