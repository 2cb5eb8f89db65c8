import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../../src/ir/build.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { f32Tensor } from "../../../../src/ir/tensor.ts";
import { siteGain } from "../../../../src/passes/quantize/static/gain.ts";
import { findSites } from "../../../../src/passes/quantize/static/sites.ts";
import type { QdqForm } from "../../../../src/passes/quantize/static/write-qdq.ts";
import { integerGain } from "../../../../src/targets/cost/integer.ts";
import { target } from "../../../../src/targets/index.ts";
import { AVX2_CORE } from "../../../../src/targets/machines/x64.ts";
import type { Target } from "../../../../src/targets/target.ts";

const [ROWS, IN, OUT] = [256, 512, 1024];
const WEIGHTS = IN * OUT;

function layer(rows: number | string) {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("sample", "f32", [rows, IN]);
  const w = b.constant(f32Tensor(new Float32Array(WEIGHTS).fill(1), [IN, OUT]));
  const y = b.node("MatMul", [x, w], {}, { name: "layer" });
  return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const FORM: QdqForm = {
  bits: 8,
  domain: "",
  weightDomain: "",
  time: "constant",
  signed: true,
  placement: "inputs",
  weightScales: "all",
  powerOfTwo: false,
  float8: false,
};

function gain(t: Target | null, qdq: QdqForm | null, rows: number | string = ROWS): number | null {
  const model = layer(rows);
  const shapes = inferShapes(model);
  const options = { match: null, exclude: null, minElements: 1, guards: false };
  const [site] = findSites(model, shapes, options).sites;
  const spelling = { qdq, bits: qdq?.bits ?? 8, block: null } as const;
  return siteGain(site!, { model, target: t, shapes: () => shapes }, { spelling, lengths: {} });
}

describe("estimated gain of a site", () => {
  it("is that of operators on integers where conversions are nodes", () => {
    const expected = integerGain(AVX2_CORE, {
      flops: 2 * ROWS * WEIGHTS,
      quantized: ROWS * IN,
      dequantized: 0,
    });
    expect(gain(target("cpu-x64"), null)).toBeCloseTo(expected, 12);
    expect(gain(target("cpu-x64:amx"), null)).not.toBeCloseTo(expected, 6);
  });

  it("is the difference of two nodes where conversions are types", () => {
    const gpu = target("tensorrt");
    const { bandwidth, flops } = gpu.machine!;
    const product = 2 * ROWS * WEIGHTS;
    const wide = Math.max((4 * (ROWS * IN + WEIGHTS + ROWS * OUT)) / bandwidth, product / flops.f32!);
    const narrow = Math.max((ROWS * IN + WEIGHTS + 4 * ROWS * OUT) / bandwidth, product / flops.i8!);
    expect(gain(gpu, FORM)).toBeCloseTo(wide - narrow, 12);
    const around = (ROWS * IN + WEIGHTS + ROWS * OUT) / bandwidth;
    expect(gain(gpu, { ...FORM, placement: "around" })).toBeCloseTo(
      wide - Math.max(around, product / flops.i8!),
      12,
    );
  });

  it("counts only what has a rate, and nothing where a length or the machine is unknown", () => {
    const { machine, ...bare } = target("tensorrt");
    expect(gain(bare, FORM)).toBeNull();
    expect(gain(null, FORM)).toBeNull();
    expect(gain(target("tensorrt"), FORM, "rows")).toBeNull();
    const slow: Target = { ...bare, machine: { ...machine!, flops: { f32: 1e9 } } };
    // Integers run at the rate of the next wider float there, so only memory could be saved, which does not bound it.
    expect(gain(slow, FORM)).toBe(0);
  });
});
