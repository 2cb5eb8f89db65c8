import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { checkTarget, compile, readModel } from "../../src/index.ts";

const out = mkdtempSync(join(tmpdir(), "diffpress-unrunnable-"));
afterAll(() => rmSync(out, { recursive: true, force: true }));
const fixture = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));

it("a build that no kernel here runs is written and checked, and its report says that it was not run", {
  timeout: 300_000,
}, async () => {
  const { report } = await compile(fixture, {
    out: join(out, "build"),
    recipe: { extends: "exact", passes: ["clean", { "quantize-weights": { format: "f4" } }] },
    targets: ["tensorrt"],
  });
  const path = join(out, "build/tensorrt/unet/model.onnx");
  const { graph } = await readModel(path);
  const types = [...graph.nodes()].map((n) => graph.constant(n.inputs[0])?.dtype);
  expect(types.filter((t) => t === "f4e2m1").length).toBeGreaterThan(0);
  const built = report.targets["tensorrt"]!;
  expect(JSON.stringify(built)).toMatch(/does not run on the CPU of this machine/);
  expect(built.fidelity).toBeNull();
  const [check] = await checkTarget(path, { targets: ["tensorrt"] });
  expect(check!.counts.reject).toBe(0);
});
