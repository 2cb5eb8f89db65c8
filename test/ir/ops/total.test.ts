import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AttrInput, ModelBuilder } from "../../../src/ir/build.ts";
import { DTYPES, type DType } from "../../../src/ir/dtype.ts";
import { floatAttr, type ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { OPS } from "../../../src/ir/ops/index.ts";
import { nodeCost, weightRole } from "../../../src/ir/ops/queries.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import type { Dim } from "../../../src/ir/types.ts";
import { verifyModel } from "../../../src/ir/verify.ts";

/** Attribute names that shape rules read; values of every kind, fitting or not. */
const NAMES =
  "axis axes perm to dtype kernel_shape strides pads dilations group auto_pad keepdims equation num_heads q_num_heads " +
  "kv_num_heads blocksize split num_outputs K N size value value_ints sizes scales output_shape direction hidden_size " +
  "num_scan_inputs body then_branch else_branch new_axis batch_dims k mode equation shape detect_positive ceil_mode";

const attribute: fc.Arbitrary<AttrInput> = fc.oneof(
  fc.integer({ min: -5, max: 30 }),
  fc.array(fc.integer({ min: -3, max: 5 }), { maxLength: 5 }),
  fc.constantFrom("ij,jk->ik", "SAME_UPPER", "bidirectional", "linear", ""),
  fc.constantFrom(floatAttr(0.5), floatAttr(-1)),
  fc.constantFrom(i64Tensor([3]), f32Tensor([], [0])),
);

const dim: fc.Arbitrary<Dim> = fc.oneof(
  fc.integer({ min: 0, max: 9 }),
  fc.constantFrom("h", "2*w", "?9.0", "min(3,h)"),
);
const operand = fc.oneof(
  fc.record({
    kind: fc.constant("input" as const),
    dtype: fc.constantFrom(...(Object.keys(DTYPES) as DType[])),
    shape: fc.option(fc.array(dim, { maxLength: 6 })),
  }),
  fc.record({
    kind: fc.constant("constant" as const),
    values: fc.array(fc.integer({ min: -4, max: 12 }), { maxLength: 6 }),
  }),
  fc.constant({ kind: "absent" as const }),
  fc.constant({ kind: "sequence" as const }),
);

describe("shape rules", () => {
  it("never throw, whatever the node looks like", () => {
    const node = fc.record({
      spec: fc.constantFrom(...OPS),
      opset: fc.integer({ min: 1, max: 26 }),
      operands: fc.array(operand, { maxLength: 8 }),
      attrs: fc.dictionary(fc.constantFrom(...NAMES.split(" ")), attribute, { maxKeys: 5 }),
      outputs: fc.integer({ min: 0, max: 4 }),
    });
    fc.assert(
      fc.property(node, ({ spec, opset, operands, attrs, outputs }) => {
        const b = new ModelBuilder({ opset, domains: spec.domain === "" ? {} : { [spec.domain]: 1 } });
        const inputs = operands.map((o, i): ValueId | null => {
          if (o.kind === "absent") return null;
          if (o.kind === "input") return b.input(`x${i}`, o.dtype, o.shape);
          if (o.kind === "constant") return b.constant(i64Tensor(o.values), `c${i}`);
          const element = { kind: "tensor", dtype: "f32", shape: [2, "h"] } as const;
          return b.inputOf(`s${i}`, { kind: "sequence", element });
        });
        const made = b.multi(spec.op, inputs, outputs, attrs, { domain: spec.domain });
        for (const id of made) if (id !== null) b.output(id);
        const model = b.build();
        const shapes = inferShapes(model);
        const again = inferShapes(model);
        for (const n of model.graph.nodes()) {
          nodeCost(n, shapes, { h: 3, w: 2 });
          weightRole(model.graph, shapes, n);
          for (const o of n.outputs) if (o !== null) expect(again.type(o)).toEqual(shapes.type(o));
        }
        verifyModel(model);
      }),
      { numRuns: 6000 },
    );
  });
});
