import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { feedsFor } from "../../fixtures/build/index.ts";
import { printGraph } from "../../src/ir/print.ts";
import { verifyModel } from "../../src/ir/verify.ts";
import { passes } from "../../src/passes/index.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { toNumbers } from "../laws/numbers.ts";
import { applyPass, distance, outputsOf, type Subject, signature } from "../laws/subject.ts";
import { buildProgram, programs } from "./random-graph.ts";

/** Sums of at most 6 terms through at most 14 operators, some with gains above one. */
const TOLERANCE = 2e-4;

const exact = passes.filter((p) => p.effect === "exact" && p.family !== "legalise");

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

function subjectOf(program: Parameters<typeof buildProgram>[0]): Subject {
  return {
    name: "program",
    fixture: { name: "program", note: "random", dims: { batch: 2 }, build: () => buildProgram(program) },
    load: async () => buildProgram(program),
  };
}

describe("random programs", () => {
  it("are valid, run, and differ from each other", async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(programs, async (program) => {
        const model = buildProgram(program);
        expect(verifyModel(model).filter((d) => d.severity === "error")).toEqual([]);
        const outputs = await outputsOf(model, subjectOf(program), runtime);
        expect([...outputs.values()].every((o) => toNumbers(o).every(Number.isFinite))).toBe(true);
        seen.add(printGraph(model));
      }),
      { numRuns: 40, seed: 1 },
    );
    expect(seen.size).toBeGreaterThan(30);
    expect(
      feedsFor(subjectOf({ opset: 17, steps: [] }).fixture, buildProgram({ opset: 17, steps: [] })).size,
    ).toBe(2);
  });

  it("give the same outputs after exact passes in any order", async () => {
    await fc.assert(
      fc.asyncProperty(
        programs,
        fc.array(fc.nat(exact.length - 1), { minLength: 1, maxLength: 6 }),
        async (program, order) => {
          const subject = subjectOf(program);
          const model = buildProgram(program);
          const before = signature(model);
          const expected = await outputsOf(model, subject, runtime);
          for (const i of order) {
            await applyPass(model, exact[i]!, runtime);
            expect(verifyModel(model).filter((d) => d.severity === "error")).toEqual([]);
          }
          expect(signature(model)).toEqual(before);
          const outputs = await outputsOf(model, subject, runtime);
          expect(distance(expected, outputs), order.map((i) => exact[i]!.name).join(", ")).toBeLessThan(
            TOLERANCE,
          );
        },
      ),
      { numRuns: 150, seed: 7 },
    );
  });

  it("print the same text for the same program", () => {
    fc.assert(
      fc.property(programs, (program) => {
        expect(printGraph(buildProgram(program))).toBe(printGraph(buildProgram(program)));
      }),
      { numRuns: 30, seed: 3 },
    );
  });
});
