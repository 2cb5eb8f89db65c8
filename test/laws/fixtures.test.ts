import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inferShapes } from "../../src/ir/infer.ts";
import { verifyModel } from "../../src/ir/verify.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { toNumbers } from "./numbers.ts";
import { digest, outputsOf, signature, subjects } from "./subject.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

describe("fixtures", () => {
  it("have names of their own", () => {
    const names = subjects.map((s) => s.name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(20);
  });

  it.each(subjects)("$name verifies, builds the same twice and runs to finite numbers", async (subject) => {
    const model = await subject.load();
    expect(verifyModel(model).filter((d) => d.severity === "error")).toEqual([]);
    expect(await digest(await subject.load(), runtime)).toBe(await digest(model, runtime));
    const outputs = await outputsOf(model, subject, runtime);
    expect([...outputs.keys()]).toEqual(model.graph.outputs.map((o) => model.graph.value(o).name));
    for (const [name, out] of outputs) {
      const values = toNumbers(out);
      expect(values.every(Number.isFinite), name).toBe(true);
      expect(
        values.some((v) => v !== 0),
        `${name} is not constant zero`,
      ).toBe(true);
    }
  });

  it.each(subjects)(
    "$name: declared output types agree with inference and with the runtime",
    async (subject) => {
      const model = await subject.load();
      const shapes = inferShapes(model);
      const outputs = await outputsOf(model, subject, runtime);
      for (const id of model.graph.outputs) {
        const { name } = model.graph.value(id);
        const out = outputs.get(name)!;
        expect(shapes.dtype(id), name).toBe(out.dtype);
        const inferred = shapes.shape(id);
        if (inferred !== null) expect(inferred.length, name).toBe(out.dims.length);
        inferred?.forEach((d, i) => {
          if (typeof d === "number") expect(d, `${name}.${i}`).toBe(out.dims[i]);
        });
      }
      expect(signature(model)).toEqual(signature(await subject.load()));
    },
  );
});
