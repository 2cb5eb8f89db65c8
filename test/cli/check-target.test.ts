import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT, diffpress } from "./harness.ts";

const MODEL = join(ROOT, "fixtures/cifar-unet/unet/model.onnx");

it("prints what a target would do, as data and for people, and exits with 4 where one refuses the model", async () => {
  const fine = await diffpress("check-target", MODEL, "--target", "cuda,openvino:gpu", "--json");
  expect(fine.code).toBe(0);
  const checks = JSON.parse(fine.stdout) as {
    target: string;
    counts: { reject: number };
    nodes: { verdict: string }[];
  }[];
  expect(checks.map((c) => [c.target, c.counts.reject])).toEqual([
    ["cuda", 0],
    ["openvino:gpu", 0],
  ]);
  expect(checks[0]!.nodes.length).toBeGreaterThan(500);

  // The fixture has symbolic shapes, and this target takes static ones.
  const refused = await diffpress("check-target", MODEL, "--target", "qnn-htp");
  expect(refused.code).toBe(4);
  expect(refused.stdout).toContain("GEN-8");
  expect(refused.stdout).toContain("encoder_hidden_states");
  expect(refused.stdout).toContain("no estimate: lengths are unknown");

  const dims = "batch_size=2,height=16,width=16,steps=1,sequence_length=8";
  const named = await diffpress("check-target", MODEL, "--target", "coreml", "--shape", dims, "--nodes");
  expect(named.code).toBe(0);
  expect(named.stdout).toContain("leaves");
  expect(named.stdout).toContain("CML-1");
  expect(named.stdout).toMatch(/\d+\.\d %/);
  expect(named.stdout).toMatch(
    /estimate: \d+ µs a run, not measured: .*Neural Engine of an Apple M2: published peaks/,
  );
  expect(named.stdout).toContain("3 nodes that leave the accelerator count as if they ran on it");
  expect(named.stdout).toMatch(/Conv +\d+\.\d+ µs +\d\.\d % +(memory|arithmetic) +\d+ KB +[\d.]+ MFLOP +f32/);
});

it("refuses what it does not know", async () => {
  const unknown = await diffpress("check-target", MODEL, "--target", "tensort", "--json");
  expect(unknown.code).toBe(1);
  expect(unknown.stdout).toContain('"nearest": "tensorrt"');
  expect((await diffpress("check-target", MODEL)).code).toBe(2);
});
