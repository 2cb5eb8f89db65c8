import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import type * as promises from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { fileReader, writeModel } from "../../../src/ir/onnx/index.ts";
import { inlineTensor } from "../../../src/ir/tensor.ts";

// Every file takes this many bytes, then the disk is full, as the operating system reports it.
const ROOM = 3_000_000;
const CODES = ["ENOSPC", "EDQUOT"];
let code = "";

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof promises>();
  return {
    ...real,
    async open(...args: Parameters<typeof promises.open>) {
      const handle = await real.open(...args);
      let left = ROOM;
      const write = handle.write.bind(handle) as (...a: unknown[]) => Promise<{ bytesWritten: number }>;
      Object.assign(handle, {
        write(buffer: Uint8Array, offset: number, length: number) {
          const fits = Math.min(left, length);
          if (fits === 0)
            return Promise.reject(Object.assign(new Error("no space"), { code, syscall: "write" }));
          left -= fits;
          return write(buffer, offset, fits);
        },
      });
      return handle;
    },
  };
});

const folder = mkdtempSync(join(tmpdir(), "diffpress-disk-full-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each(CODES)("a full disk (%s) is one diagnostic and leaves no file", async (errno) => {
  code = errno;
  const b = new ModelBuilder();
  const x = b.input("x", "f32", [1]);
  b.constant(inlineTensor("f32", [500_000], new Uint8Array(2_000_000)), "a");
  b.constant(inlineTensor("f32", [500_000], new Uint8Array(2_000_000).fill(1)), "b");
  b.output(b.node("Relu", [x]), "y");
  const path = join(folder, "model.onnx");
  await expect(
    writeModel(b.build(), path, { reader: fileReader(), external: { total: 0 } }),
  ).rejects.toMatchObject({
    code: "DISK_FULL",
    diagnostic: { details: { path: `${path}.data` } },
  });
  await expect(writeModel(b.build(), path, { reader: fileReader(), external: false })).rejects.toMatchObject({
    code: "DISK_FULL",
    diagnostic: { details: { path } },
  });
  expect(readdirSync(folder)).toEqual([]);
});
