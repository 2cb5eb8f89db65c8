import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verifyModel } from "../../src/ir/verify.ts";
import { passes } from "../../src/passes/index.ts";
import type { Pass } from "../../src/passes/pass.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { targets } from "../../src/targets/index.ts";
import type { Target } from "../../src/targets/target.ts";
import {
  applyPass,
  defaultOptions,
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
const references = new Map<string, Promise<Awaited<ReturnType<typeof outputsOf>>>>();

beforeAll(async () => {
  serial = await createRuntime({ workers: 1 });
  threaded = await createRuntime({ workers: 4 });
});
afterAll(async () => {
  await serial.close();
  await threaded.close();
});

/** Outputs of the untouched subject, once. */
function reference(subject: Subject): Promise<Awaited<ReturnType<typeof outputsOf>>> {
  let found = references.get(subject.name);
  if (found === undefined) {
    found = subject.load().then((m) => outputsOf(m, subject, serial));
    references.set(subject.name, found);
  }
  return found;
}

/** A pass in the part of a recipe it belongs to: portable, or on every target that could run it. */
const settings: readonly { pass: Pass; target: Target | null; label: string }[] = passes.flatMap((pass) =>
  pass.family === "legalise" || pass.effect === "lossy"
    ? targets.map((target) => ({ pass, target, label: `${pass.name} for ${target.id}` }))
    : [{ pass, target: null, label: pass.name }],
);

async function laws(pass: Pass, target: Target | null, subject: Subject): Promise<void> {
  const options = defaultOptions(pass);
  const model = await subject.load();
  const before = signature(model);
  await applyPass(model, pass, serial, options, target);

  expect(
    verifyModel(model).filter((d) => d.severity === "error"),
    "verifies",
  ).toEqual([]);
  expect(signature(model), "signature").toEqual(before);

  const first = await digest(model, serial);
  const again = await subject.load();
  await applyPass(again, pass, threaded, options, target);
  expect(await digest(again, threaded), "same bytes on four workers").toBe(first);

  const expected = await reference(subject);
  const outputs = await outputsOf(model, subject, serial);
  if (pass.effect === "exact") {
    expect(distance(expected, outputs), "exact").toBeLessThan(EXACT_TOLERANCE);
    await applyPass(model, pass, serial, options, target);
    expect(await digest(model, serial), "twice is once").toBe(first);
  } else {
    expect(lowestSqnr(expected, outputs), "within the declared bound").toBeGreaterThanOrEqual(
      pass.minSqnrDb!,
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
    const undeclared = passes
      .filter((p) => p.effect === "lossy" && p.minSqnrDb === undefined)
      .map((p) => p.name);
    expect(undeclared).toEqual([]);
  });
});

describe.each(settings)("$label", ({ pass, target }) => {
  it.each(subjects)("keeps the laws on $name", async (subject) => {
    await laws(pass, target, subject);
  });
  it("keeps the laws on a model with external data", async () => {
    const { subject, remove } = await externalSubject(serial);
    try {
      await laws(pass, target, subject);
    } finally {
      await remove();
    }
  });
});

describe("something to do", () => {
  it.each(passes.filter((p) => p.effect === "exact").map((pass) => ({ pass, name: pass.name })))(
    "$name changes at least one fixture",
    async ({ pass }) => {
      const active = targets.length === 0 || pass.family !== "legalise" ? [null] : targets;
      let changed = false;
      for (const subject of subjects) {
        for (const target of active) {
          const model = await subject.load();
          const { version } = model.graph;
          await applyPass(model, pass, serial, defaultOptions(pass), target);
          changed ||= model.graph.version !== version;
        }
        if (changed) break;
      }
      expect(changed).toBe(true);
    },
  );
});
