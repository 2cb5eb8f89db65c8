import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compile, type Recipe } from "../../src/index.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "held-out-"));
});
afterAll(async () => await rm(root, { recursive: true, force: true }));

interface Manifest {
  readonly sampling?: Readonly<Record<string, { readonly frozenConditions?: unknown }>>;
  readonly models: unknown;
}

async function built(name: string, heldOut: number | null) {
  const out = join(root, name);
  const recipe: Recipe = {
    extends: "exact",
    passes: [
      "clean",
      { "freeze-conditions": { conditions: "calibration", always: true } },
      { "factorize-linear": { budget: { ratio: 0.5 }, match: "mid_block.*attn1" } },
    ],
    calibration: { samples: 3, steps: 2, ...(heldOut !== null && { heldOut }) },
    components: ["unet"],
    targets: { "cpu-x64": {} },
  };
  const { report } = await compile(FIXTURE, { recipe, out, verify: false });
  const manifest = JSON.parse(await readFile(join(out, "manifest.json"), "utf8")) as Manifest;
  const passes = report.targets["cpu-x64"]!.passes.filter((p) => p.component === "unet");
  return { manifest, decisions: passes.flatMap((p) => p.decisions) };
}

describe("a build that fits and freezes", () => {
  it("reports errors on held-out inputs beside the predicted ones, and is the same build without them", async () => {
    const [with1, without] = [await built("with", null), await built("without", 0)];
    const errors = (b: typeof with1) => b.decisions.flatMap((d) => (d.error === undefined ? [] : [d.error]));
    expect(errors(with1).length).toBeGreaterThan(1);
    for (const e of errors(with1)) {
      expect(e.heldOut).toBeTypeOf("number");
      expect(e.heldOut).not.toBe(e.value);
    }
    expect(errors(without).map((e) => e.value)).toEqual(errors(with1).map((e) => e.value));
    expect(errors(without).some((e) => "heldOut" in e)).toBe(false);
    expect(without.manifest.models).toEqual(with1.manifest.models);
    const frozen = Object.values(with1.manifest.sampling ?? {}).map((s) => s.frozenConditions);
    expect(frozen).toEqual([{ inputs: ["encoder_hidden_states"], count: 4 }]);
  }, 240_000);
});
