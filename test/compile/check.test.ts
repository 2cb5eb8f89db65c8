import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { checkTarget, compile, type Report, targets } from "../../src/index.ts";

const root = mkdtempSync(join(tmpdir(), "diffpress-checked-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const fixture = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));

it("builds for every target, each accepted by its checker, and reports what leaves the accelerator", {
  timeout: 300_000,
}, async () => {
  const out = join(root, "all");
  const names = [...targets.map((t) => t.id), "tensorrt:11.x"];
  const { report } = await compile(fixture, { out, preset: "exact", targets: names, verify: false });
  expect(Object.keys(report.targets)).toEqual(names);
  for (const [name, t] of Object.entries(report.targets)) {
    expect(t.checks.map((c) => c.component)).toEqual(t.components.map((c) => c.name));
    for (const c of t.checks) {
      expect(
        c.findings.filter((f) => f.severity === "reject"),
        name,
      ).toEqual([]);
      expect(c.flopsShare).toBeGreaterThan(0.9);
    }
    for (const { estimate, nodes } of t.components) {
      expect(estimate!.machine.length, name).toBeGreaterThan(5);
      expect(estimate!.basis, name).toMatch(/^(published peaks|rates fitted)/);
      const times = estimate!.slowest.map((n) => n.seconds);
      expect(times).toHaveLength(Math.min(10, nodes.after));
      expect(times).toEqual([...times].sort((a, b) => b - a));
      const { arithmetic, memory, overhead } = estimate!.bounds;
      expect(arithmetic + memory + overhead).toBeCloseTo(estimate!.seconds, 9);
    }
    const slowest = t.components.find((c) => c.name === "unet")!.estimate!.slowest;
    expect(slowest.some((n) => n.flops > 0 && n.bytes > 0)).toBe(true);
    const leaving = t.checks.reduce((n, c) => n + c.verdicts.leaves, 0);
    expect(t.leavesAccelerator).toHaveLength(leaving);
    for (const n of t.leavesAccelerator ?? [])
      expect(n).toMatchObject({ why: expect.stringMatching(/\([A-Z0-9]+-\d\)$/) });
  }
  expect(report.diagnostics.map((d) => d.code)).not.toContain("TARGET_REJECTS");
  const away = report.targets["coreml"]!.leavesAccelerator!.map((n) => n.op);
  expect([...new Set(away)].sort()).toEqual(["Cos", "Sin"]);
  expect(report.targets["cpu-x64"]!.leavesAccelerator).toEqual([]);

  const written = JSON.parse(readFileSync(join(out, "report.json"), "utf8")) as Report;
  expect(written.targets["vitisai"]!.checks).toEqual(report.targets["vitisai"]!.checks);

  // What was written for one target is refused by another: TensorRT imports nothing of com.microsoft.
  const [found] = await checkTarget(join(out, "cpu-x64/unet/model.onnx"), { targets: ["tensorrt:11.x"] });
  expect(found!.findings.filter((f) => f.rule === "TRT-1").length).toBeGreaterThan(0);
  const [own] = await checkTarget(join(out, "tensorrt-11.x/unet/model.onnx"), { targets: ["tensorrt:11.x"] });
  expect(own!.counts.reject).toBe(0);
  expect(own!.estimate).toBeNull();
});

it("refuses lengths for dims the model does not have, and targets it does not know", async () => {
  const path = join(fixture, "unet/model.onnx");
  await expect(checkTarget(path, { targets: ["cuda"], shape: { depth: 3 } })).rejects.toMatchObject({
    code: "SHAPE_DIM_UNKNOWN",
  });
  await expect(checkTarget(path, { targets: ["tensorrt:12.x"] })).rejects.toMatchObject({
    code: "TARGET_UNKNOWN",
  });
});
