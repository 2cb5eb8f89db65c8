import { describe, expect, it } from "vitest";
import { type ComponentInfo, deduceBindings, staticBindings } from "../../src/compile/shapes.ts";

const unet: ComponentInfo = {
  name: "unet",
  kind: "denoiser",
  denoiser: true,
  dims: ["batch_size", "height", "width", "steps", "sequence_length", "sample.0"],
  inputs: [
    { name: "sample", shape: ["batch_size", 3, "height", "width"] },
    { name: "timestep", shape: ["steps"] },
    { name: "encoder_hidden_states", shape: ["batch_size", "sequence_length", 64] },
  ],
  sampleSize: [16, 24],
  channels: 3,
  fed: new Map([
    ["timestep", [1]],
    ["encoder_hidden_states", [2, 8, 64]],
  ]),
};

describe("lengths for static-shape targets", () => {
  it("takes the sample size from the configuration, batch 2, the rest from what the pipeline feeds", () => {
    expect(staticBindings(unet, {}, "npu")).toEqual({
      batch_size: 2,
      height: 16,
      width: 24,
      sequence_length: 8,
      steps: 1,
    });
  });
  it("leaves alone what is given, by symbol or by axis", () => {
    expect(staticBindings(unet, { "sample.0": 1, height: 8 }, "npu")).toEqual({
      width: 24,
      sequence_length: 8,
      steps: 1,
    });
  });
  it("lets a rank-1 timestep share the batch symbol", () => {
    const c: ComponentInfo = {
      ...unet,
      inputs: [
        { name: "timestep", shape: ["batch_size"] },
        { name: "sample", shape: ["batch_size", 3, 16, 16] },
      ],
    };
    expect(staticBindings(c, {}, "npu")).toEqual({ batch_size: 2 });
  });
  it("uses input.axis for axes without a symbol", () => {
    const c: ComponentInfo = {
      ...unet,
      inputs: [{ name: "sample", shape: ["?0", 3, 16, "?1"] }],
      dims: ["sample.0", "sample.3"],
    };
    expect(staticBindings(c, {}, "npu")).toEqual({ "sample.0": 2, "sample.3": 24 });
  });
  it("lists the dims nobody knows", () => {
    const c: ComponentInfo = { ...unet, fed: new Map(), sampleSize: null };
    expect(deduceBindings(c, {}).missing).toEqual(["height", "width", "sequence_length"]);
    expect(() => staticBindings(c, {}, "npu")).toThrow(/height=…,width=…,sequence_length=…/);
  });
});
