import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { CPU_LIMITS } from "../../src/targets/cpu-limits.ts";
import { plainTwin } from "../../src/targets/twin.ts";
import { floats, ops, wave } from "../passes/harness.ts";
import { run, single } from "./twin-harness.ts";

describe("the twin of NhwcConv", () => {
  const cases = fc.record({
    batch: fc.integer({ min: 1, max: 2 }),
    height: fc.integer({ min: 3, max: 6 }),
    width: fc.integer({ min: 3, max: 6 }),
    groups: fc.integer({ min: 1, max: 2 }),
    from: fc.integer({ min: 1, max: 3 }),
    to: fc.integer({ min: 1, max: 3 }),
    stride: fc.integer({ min: 1, max: 2 }),
    pad: fc.integer({ min: 0, max: 1 }),
    bias: fc.boolean(),
    stored: fc.boolean(),
  });
  it("reads images and weights with their channels last", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const [inputs, outputs] = [c.groups * c.from, c.groups * c.to];
        const x = wave([c.batch, c.height, c.width, inputs], 1);
        const w = wave([outputs, 3, 3, c.from], 2);
        const b = wave([outputs], 3);
        const model = single("NhwcConv", {
          feeds: c.stored ? { x } : { x, w },
          half: false,
          attrs: {
            kernel_shape: [3, 3],
            group: c.groups,
            strides: [c.stride, c.stride],
            pads: [c.pad, c.pad, c.pad, c.pad],
          },
          inputs: (m, data) => [
            data["x"]!,
            c.stored ? m.constant(f32Tensor(floats(w), w.dims), "w") : data["w"]!,
            ...(c.bias ? [m.constant(f32Tensor(floats(b)), "b")] : []),
          ],
        });
        const twin = plainTwin(model, CPU_LIMITS)!;
        expect(ops(twin)).toEqual(
          c.stored
            ? ["Transpose", "Conv", "Transpose", "Identity"]
            : ["Transpose", "Transpose", "Conv", "Transpose", "Identity"],
        );
        const got = await run(twin, c.stored ? { x } : { x, w });
        const [image, kernel, bias] = [floats(x), floats(w), floats(b)];
        const high = Math.floor((c.height + 2 * c.pad - 3) / c.stride) + 1;
        const wide = Math.floor((c.width + 2 * c.pad - 3) / c.stride) + 1;
        expect(got).toHaveLength(c.batch * high * wide * outputs);
        for (const [i, y] of got.entries()) {
          const m = i % outputs;
          const column = Math.floor(i / outputs) % wide;
          const row = Math.floor(i / outputs / wide) % high;
          const n = Math.floor(i / outputs / wide / high);
          let want = c.bias ? bias[m]! : 0;
          for (let r = 0; r < 3; r++)
            for (let s = 0; s < 3; s++) {
              const [h, v] = [row * c.stride + r - c.pad, column * c.stride + s - c.pad];
              if (h < 0 || v < 0 || h >= c.height || v >= c.width) continue;
              for (let k = 0; k < c.from; k++) {
                const channel = Math.floor(m / c.to) * c.from + k;
                const pixel = image[((n * c.height + h) * c.width + v) * inputs + channel]!;
                want += pixel * kernel[((m * 3 + r) * 3 + s) * c.from + k]!;
              }
            }
          expect(Math.abs(y - want)).toBeLessThan(1e-5);
        }
      }),
      { numRuns: 30 },
    );
  });
});
