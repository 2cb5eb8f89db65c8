import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { withTwins } from "../../src/compile/twins.ts";
import { DiffpressError } from "../../src/diagnostics/index.ts";
import { verifyModel } from "../../src/ir/verify.ts";
import { passes } from "../../src/passes/index.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { type Setting, settings } from "./settings.ts";
import {
  applyPass,
  digest,
  distance,
  externalSubject,
  lowestSqnr,
  outputsOf,
  type Subject,
  signature,
  subjects,
} from "./subject.ts";

/** An exact pass reorders float32 sums of at most a few hundred terms: relative to the largest output, 1e-5 is ample. */
const EXACT_TOLERANCE = 1e-5;

let serial: Runtime;
let threaded: Runtime;
const references = new Map<string, ReturnType<typeof outputsOf>>();
/** Passes that need a sampled trajectory or a fused operator to do anything, which the fixtures do not have; their own tests show them at work. */
const NEED_MORE: readonly string[] = [
  "pack-attention",
  "factorize-attention",
  "freeze-conditions",
  "share-bases",
  "prune-blocks",
  "quantize-static",
  "correct-output",
];
/** Passes that changed some fixture in some setting. */
const active = new Set<string>();

beforeAll(async () => {
  // Operators without a kernel here run as their plain twins, as they do when builds are judged.
  serial = withTwins(await createRuntime({ workers: 1 }));
  threaded = withTwins(await createRuntime({ workers: 4 }));
});
afterAll(async () => {
  await serial.close();
  await threaded.close();
});

/** Outputs of the untouched subject, once. */
function reference(subject: Subject): ReturnType<typeof outputsOf> {
  let found = references.get(subject.name);
  if (found === undefined) {
    found = subject.load().then((m) => outputsOf(m, subject, serial));
    references.set(subject.name, found);
  }
  return found;
}

/** Refusals that depend on the target: a budget that its smallest formats cannot meet is one. */
const isRefusal = (code: string): boolean => code.startsWith("TARGET_") || code === "ALLOCATION_IMPOSSIBLE";

/** True when the pass says in a diagnostic that this model cannot be built for this target. */
async function refused(run: Promise<void>): Promise<boolean> {
  try {
    await run;
    return false;
  } catch (e) {
    if (e instanceof DiffpressError && isRefusal(e.code)) return true;
    throw e;
  }
}

/** A signature as far as a pass has to keep it: one exists to make int64 inputs int32, and changes nothing else. */
function kept(pass: string, found: unknown): unknown {
  if (pass !== "narrow-inputs") return found;
  return JSON.parse(JSON.stringify(found).replaceAll('"i32"', '"i64"'));
}

async function laws(setting: Setting, subject: Subject): Promise<void> {
  const { pass, target } = setting;
  const options = setting.options(subject);
  const model = await subject.load();
  const before = signature(model);
  const { version } = model.graph;
  if (await refused(applyPass(model, pass, serial, options, target))) {
    expect(model.graph.version, "a refusal changes nothing").toBe(version);
    return;
  }
  if (model.graph.version !== version) active.add(pass.name);
  expect(
    verifyModel(model).filter((d) => d.severity === "error"),
    "verifies",
  ).toEqual([]);
  expect(kept(pass.name, signature(model)), "signature").toEqual(kept(pass.name, before));

  const first = await digest(model, serial);
  const again = await subject.load();
  await applyPass(again, pass, threaded, options, target);
  expect(await digest(again, threaded), "same bytes on four workers").toBe(first);

  if (setting.notRun !== undefined) return;
  const expected = await reference(subject);
  // Lossy builds are judged as they are deployed; half precision on CPU leans on the runtime's own casts.
  const outputs = await outputsOf(model, subject, serial, pass.effect === "lossy" ? "all" : "disable");
  if (pass.effect === "exact") {
    expect(distance(expected, outputs), "exact").toBeLessThan(EXACT_TOLERANCE);
    await applyPass(model, pass, serial, setting.again?.(subject) ?? options, target);
    expect(await digest(model, serial), "twice is once").toBe(first);
  } else {
    expect(lowestSqnr(expected, outputs), "within the declared bound").toBeGreaterThanOrEqual(
      pass.minSqnrDb ?? Number.POSITIVE_INFINITY,
    );
  }
}

describe("registry", () => {
  it("names are kebab-case and unique, and every option has a default and a description", () => {
    expect(passes.length).toBeGreaterThan(0);
    expect(new Set(passes.map((p) => p.name)).size).toBe(passes.length);
    for (const pass of passes) {
      expect(pass.name).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      const properties = (pass.options["properties"] ?? {}) as Record<string, Record<string, unknown>>;
      for (const [name, schema] of Object.entries(properties)) {
        expect(schema, `${pass.name}.${name}`).toHaveProperty("default");
        expect(schema["description"], `${pass.name}.${name}`).toBeTypeOf("string");
      }
    }
  });
  it("every lossy pass declares how lossy it may be", () => {
    const undeclared = passes.filter((p) => p.effect === "lossy" && p.minSqnrDb === undefined);
    expect(undeclared.map((p) => p.name)).toEqual([]);
  });
});

describe.each(settings)("$label", (setting) => {
  it.each(subjects.filter((s) => setting.primary || s.large !== true))(
    "keeps the laws on $name",
    async (subject) => {
      await laws(setting, subject);
    },
  );
  it("keeps the laws on a model with external data", async () => {
    const { subject, remove } = await externalSubject(serial);
    try {
      await laws(setting, subject);
    } finally {
      await remove();
    }
  });
});

describe("coverage", () => {
  it("every pass had something to do on some fixture", () => {
    expect(passes.map((p) => p.name).filter((name) => !active.has(name))).toEqual(NEED_MORE);
  });
});
