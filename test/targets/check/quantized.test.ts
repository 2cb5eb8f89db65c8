import { describe, expect, it } from "vitest";
import { checkModel } from "../../../src/targets/check/check.ts";
import { resolveTargets, targets } from "../../../src/targets/index.ts";
import { runtime } from "../../passes/harness.ts";
import { built } from "../../passes/quantize/built.ts";

/** Layers of the small denoiser that `quantize-static` writes. */
const LAYERS = /^(conv|linear|back|gemm)([_/].*)?$/;

describe("8-bit graphs of quantize-static", () => {
  it.each(targets.filter((t) => t.integer !== null).map((t) => t.id))(
    "%s takes them as they are written, every layer on integers",
    async (id) => {
      const [target] = resolveTargets([id]);
      const { model } = await built({ faster: false }, target!);
      // Nothing in it is newer than opset 17: legalisation would have stamped it so.
      model.opsets = new Map(model.opsets).set("", target!.opset.emit);
      const { reader } = await runtime();
      const [check] = await checkModel(model, [target!], { reader });
      expect(check!.findings.filter((f) => f.severity !== "slow")).toEqual([]);
      const products = check!.nodes.filter((n) => LAYERS.test(n.node));
      const arithmetic = products.filter((n) => /Conv|MatMul|Gemm/.test(n.op));
      expect(arithmetic.length).toBeGreaterThanOrEqual(4);
      expect(arithmetic.filter((n) => n.verdict !== "quantized")).toEqual([]);
    },
  );
});
