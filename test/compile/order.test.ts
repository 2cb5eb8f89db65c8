import { describe, expect, it } from "vitest";
import { checkOrder } from "../../src/compile/order.ts";
import { DiffpressError } from "../../src/diagnostics/index.ts";

/** Code of the refusal; `null` when the order is taken. */
function run(...names: string[]): string | null {
  try {
    checkOrder(names.map((pass) => ({ pass, options: {}, from: "recipe" })));
    return null;
  } catch (e) {
    if (e instanceof DiffpressError) return e.diagnostic.code;
    throw e;
  }
}

describe("order of passes", () => {
  it.each([
    [
      [
        "prune-ffn",
        "factorize-linear",
        "sparsify-weights",
        "quantize-static",
        "quantize-weights",
        "correct-output",
      ],
    ],
    [["prune-heads", "prune-channels", "allocate-bits", "quantize-weights"]],
    [["split-upsample", "quantize-weights", "simplify", "quantize-weights"]],
    [[]],
  ])("takes %j", (names) => {
    expect(run(...names)).toBeNull();
  });

  it.each([
    [["quantize-weights", "prune-ffn"]],
    [["factorize-linear", "prune-channels"]],
    [["sparsify-weights", "factorize-conv"]],
    [["quantize-static", "sparsify-weights"]],
    [["quantize-weights", "quantize-static"]],
    [["correct-output", "allocate-bits"]],
    [["quantize-static", "simplify", "share-bases"]],
  ])("refuses %j", (names) => {
    expect(run(...names)).toBe("PASS_ORDER");
  });
});
