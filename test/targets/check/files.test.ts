import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkTarget } from "../../../src/index.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";
import { targets } from "../../../src/targets/index.ts";
import { entry, graph, info, int, model, msg, node, sub, tensorTypeProto } from "../../ir/onnx/proto.ts";

const root = mkdtempSync(join(tmpdir(), "diffpress-check-"));
let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(async () => {
  await runtime.close();
  rmSync(root, { recursive: true, force: true });
});

/** A tensor of four floats in `location`, and what else its external data says. */
interface External {
  readonly location: string;
  readonly more?: readonly [key: string, value: string];
}

/** A model that adds a constant kept in a file, as bytes. */
function adding({ location, more }: External): Uint8Array {
  const w = msg(
    int(1, 4),
    int(2, 1),
    sub(8, "w"),
    entry(13, "location", location),
    entry(13, "offset", "0"),
    entry(13, "length", "16"),
    more === undefined ? [] : entry(13, more[0], more[1]),
    int(14, 1),
  );
  const type = tensorTypeProto(1, [4]);
  return model(
    graph({
      nodes: [node("Add", ["x", "w"], ["y"])],
      initializers: [w],
      inputs: [info("x", type)],
      outputs: [info("y", type)],
    }),
  );
}

/** Writes the model and its data into a folder of its own and returns the model's path. */
function put(name: string, external: External, bytes = 16): string {
  const folder = join(root, name, "inside");
  mkdirSync(folder, { recursive: true });
  for (const at of [folder, join(root, name)]) writeFileSync(join(at, "data"), new Uint8Array(bytes));
  const path = join(folder, "model.onnx");
  writeFileSync(path, adding(external));
  return path;
}

const loads = async (path: string): Promise<boolean> => {
  try {
    await (await runtime.openSession(path)).release();
    return true;
  } catch {
    return false;
  }
};

describe("GEN-2", () => {
  it("accepts what the runtime loads, a checksum included", async () => {
    for (const more of [undefined, ["checksum", "0".repeat(40)] as const]) {
      const path = put(`good-${more?.[0] ?? "plain"}`, { location: "data", ...(more && { more }) });
      expect(await loads(path)).toBe(true);
      for (const c of await checkTarget(path, { targets: ["all"] }))
        expect(c.findings.filter((f) => f.rule === "GEN-2")).toEqual([]);
    }
  });
  it.each([
    ["climbs out", { location: "../data" }, 16],
    ["is absolute", { location: join(root, "absolute") }, 16],
    ["is too short", { location: "data" }, 12],
    ["has an unknown key", { location: "data", more: ["colour", "blue"] }, 16],
  ] as const)("rejects external data that %s, and so does the runtime", async (name, external, bytes) => {
    const path = put(name.replaceAll(" ", "-"), external, bytes);
    writeFileSync(join(root, "absolute"), new Uint8Array(16));
    expect(await loads(path)).toBe(false);
    const checks = await checkTarget(path, { targets: ["all"] });
    expect(checks).toHaveLength(targets.length);
    for (const c of checks) {
      expect(c.findings.map((f) => [f.rule, f.severity])).toContainEqual(["GEN-2", "reject"]);
      expect(c.counts.reject).toBeGreaterThan(0);
    }
  });
});
