import { PATTERNS } from "../../numeric/sparsify/pattern.ts";
import { convertFloatTo, halfNeedsRanges } from "../convert/convert-float.ts";
import { raiseOpset } from "../legalise/convert-opset.ts";
import { definePass } from "../pass.ts";
import { checkSparse, needsData, requestFor } from "./fitting.ts";
import { formatsOf, plan, type QuantizeWeightsOptions, replaceFormat, shared, supportOf } from "./plan.ts";
import { previewFormats } from "./preview.ts";
import { stagesOf } from "./stages.ts";
import { storeWeights } from "./store.ts";

/** Small numbers outside MatMulNBits need these opsets (ONNX Cast-21, Cast-25 and DequantizeLinear-23). */
const SMALL_OPSET = [
  ["w4", 21],
  ["f4", 23],
  ["w2", 25],
] as const;

/** How often layers are observed behind stored ones: never behind what the runtime here cannot run. */
function stagesAsked(o: QuantizeWeightsOptions): number {
  return formatsOf(o).has("f4") ? 0 : o.sequential;
}

export const quantizeWeights = definePass<QuantizeWeightsOptions>({
  name: "quantize-weights",
  family: "quantize",
  summary: "Stores the weights of linear layers and convolutions in 8, 4 or 2 bits; activations stay float",
  doc: `Weights only. \`w8\` gives every output channel one scale. \`w4\` and \`w2\` cut each row into blocks with a
half-precision scale each. The range of a channel or block is not its extremes but the one with the least squared error
(\`search\`).

\`f4\` is NVFP4, for the linear layers of targets that have it: floats of 4 bits (0, 0.5, 1, 1.5, 2, 3, 4, 6), an 8-bit
float scale for 16 of them along the inputs and one float scale for the tensor, all from extremes and rounded to nearest.
The runtime on the CPU has no kernel for them, so a build that holds them is checked but not run here, and its report
says so.

\`method\` says how integers are found. \`rtn\` and \`hqq\` need no data. \`gptq\` (arXiv:2210.17323), \`rounding\` and
\`palette\` look at the Gram matrix of every layer's input along sampled trajectories: an error made at one input is made
up for at the later ones. \`rounding\` then moves single integers and scales as long as that lowers the error of the
layer's output, the objective of AdaRound (arXiv:2004.10568) without its gradient descent. A bias that nothing else reads
takes up the mean of the error: one mean over the whole trajectory, whatever the timestep; \`correct-output\` is what
follows the timestep. The report's figure of such a layer is the SQNR of its output as predicted from the Gram
matrix, about the mean where the bias is corrected; of other layers that of the weight. Layers whose inputs are in
groups, or more than 4096, and models that cannot be sampled are rounded to nearest, and the report says so. Gram
matrices know the timesteps that were sampled: time embeddings see few different inputs.

\`sequential\` stores weights in stages. Layers of a later stage are observed in the network as it is by then, so that
their Gram matrices are those of the inputs they will see, and their biases take up what the means of their outputs have
moved by. On the bundled networks at 4 bits four stages gain about 0.3 dB of the output, twelve up to 0.6; at 2 bits
four gain 1.5 dB on the transformer. \`steer\`
also moves every weight towards the least-squares fit of the original output on those inputs, the aim of GPTAQ
(arXiv:2504.02692). That lowers the error of each layer and fits networks of few layers; on the bundled ones it costs 0.2
to 3 dB, because what it takes for signal is partly the noise of the prefix: every layer shrinks a little, all in the same
direction. The report's figure of a layer in a later stage is relative to what its weight aims at.

\`lowRank\` puts a half-precision branch beside each weight, the best one for the layer's inputs (arXiv:2410.06040), in
turn with the integers. At equal bytes smaller blocks usually gain more.

\`sparse\` fits zeros and integers to one measure of error: weights are dropped and the rest repaired as
\`sparsify-weights\` does it, then rounded with error feedback that makes up for both (\`gptq\`, \`rounding\`); the zero point
stands for zero exactly. Weights that are zero already stay zero, under \`palette\` where a tenth of the weight is zero, unless a
branch is put beside them. The zeros take the space of other integers: see \`sparsify-weights\` for what they are worth.

\`palette\` stores an index per weight into a codebook and one scale per output, looked up when the model loads: one
codebook per tensor, per band of output channels, per band of input channels, or per block of both.

Guards, which options lift: weights below \`minElements\`, norm parameters and everything one-dimensional stay float; the
first and last layer get half precision, because one of them at 8 bits costs more than the whole rest of the network;
in \`w4\`, \`w2\` and \`f4\` the time embedding, changes of resolution and shortcuts of blocks keep 8 bits. A weight that several layers
read is quantized once, with the strictest format any of them wants, and left alone when something else reads it as a
float. Transposes and casts between a weight and its layer are folded into the weight.

How it is spelled is the target's choice: MatMulNBits where linear layers can stay packed in memory; otherwise Cast and
Mul, which the runtime folds at load (small files, fp32 speed and memory), or DequantizeLinear. A target without the
format falls back to the one its descriptor names, and the report says so.`,
  effect: "lossy",
  minSqnrDb: 12,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      format: {
        enum: ["w8", "w4", "w2", "f4"],
        default: "w8",
        description: "Bits of the layers that are not guarded; f4 are floats of 4 bits.",
      },
      method: {
        enum: ["rtn", "hqq", "gptq", "rounding", "palette"],
        default: "rtn",
        description:
          "How integers are found: each weight rounded for itself; zero points by half-quadratic splitting, no data; error feedback from one input to the next; the same, then coordinate descent on the layer's output error; the entries of a codebook with error feedback, one scale per output. The last three look at the inputs of every layer along sampled trajectories.",
      },
      actOrder: {
        type: "boolean",
        default: true,
        description: "Error feedback goes through the inputs by size instead of by position.",
      },
      sequential: {
        type: "integer",
        minimum: 0,
        maximum: 64,
        default: 0,
        description:
          "With methods that look at inputs: how often the layers that follow are observed behind those stored already, and made to answer as the original does. Each time costs two trajectories.",
      },
      steer: {
        type: "boolean",
        default: false,
        description:
          "With sequential: weights move towards those whose output on the inputs behind compressed layers is the original's, not only the means of outputs.",
      },
      lowRank: {
        type: "integer",
        minimum: 0,
        maximum: 256,
        default: 0,
        description: "Rank of a half-precision branch beside every quantized weight that takes up its error.",
      },
      codebookOutputs: {
        type: "integer",
        minimum: 0,
        default: 0,
        description: "Output channels that share a codebook in method palette; 0 for all of a weight.",
      },
      codebookInputs: {
        type: "integer",
        minimum: 0,
        default: 0,
        description: "Input channels that share a codebook in method palette; 0 for all of a weight.",
      },
      sparse: {
        type: ["object", "null"],
        additionalProperties: false,
        required: ["pattern"],
        properties: {
          pattern: { enum: [...PATTERNS] },
          ratio: { type: "number", minimum: 0, maximum: 0.95 },
        },
        default: null,
        description:
          "Zeros fitted together with the integers, methods gptq and rounding: a pattern as in sparsify-weights and a share of zeros, half unless said.",
      },
      block: {
        enum: [16, 32, 64, 128],
        default: 32,
        description: "Elements that share a scale in 4-bit weights; half a bit per weight at 32.",
      },
      symmetric: {
        type: "boolean",
        default: false,
        description:
          "Zero is the middle of the grid; otherwise every scale has a zero point, which lowers the error by 1 to 2 dB.",
      },
      search: {
        enum: ["none", "mse", "l2.4"],
        default: "mse",
        description:
          "How ranges are chosen: extremes, least squared error, or least error to the power of 2.4.",
      },
      match: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; only layers whose node name matches are quantized.",
      },
      exclude: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; layers whose node name matches stay as they are.",
      },
      minElements: {
        type: "integer",
        minimum: 1,
        default: 1024,
        description: "Weights with fewer elements stay float.",
      },
      edges: {
        enum: ["f32", "f16", "w8", "none"],
        default: "f16",
        description: "Format of the first and last layer; none treats them like the others.",
      },
      sensitive: {
        enum: ["w8", "w4", "none"],
        default: "w8",
        description:
          "Least format of time embedding, samplers and shortcuts in w4 and w2; none treats them like the others.",
      },
      assign: {
        type: "object",
        additionalProperties: { enum: ["f32", "f16", "w8", "w4", "w2", "f4"] },
        default: {},
        description: "Format by node name; goes before format, guards and selection.",
      },
      score: {
        type: "boolean",
        default: true,
        description:
          "Report the error of every quantized weight; of large ones, that of as many output channels as a million elements hold.",
      },
    },
  },
  wantsRanges({ format }, target) {
    const support = supportOf(target, format);
    if (support.gemm !== null || support.conv !== null) return false;
    return (
      (support.fallback === "f16" || support.fallback === "bf16") && halfNeedsRanges(support.fallback, target)
    );
  },
  wantsStatistics(graph, o, ctx) {
    if (!needsData(o)) return null;
    const support = supportOf(ctx.target, o.format);
    if (support.gemm === null && support.conv === null && !support.fallback?.startsWith("w")) return null;
    const silent = { model: ctx.model, target: ctx.target, shapes: () => ctx.shapes(), decide: () => {} };
    const [first] = stagesOf(graph, shared(graph, plan(graph, o, silent), silent), stagesAsked(o));
    return requestFor(graph, first!, ctx);
  },
  preview: (graph, o, ctx) => previewFormats(graph, o, ctx),
  version: 3,
  async run(graph, o, ctx) {
    checkSparse(o);
    let support = supportOf(ctx.target, o.format);
    if (support.gemm === null && support.conv === null) {
      const to = support.fallback ?? "f32";
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "weight-format",
        why: support.why ?? "the target does not support it",
        from: o.format,
        to,
      });
      if (to === "f16" || to === "bf16") convertFloatTo(to, graph, ctx);
      if (to !== "w8" && to !== "w4") return;
      o = { ...o, format: to };
      support = supportOf(ctx.target, to);
    }
    for (const [format, opset] of SMALL_OPSET) {
      if (!formatsOf(o).has(format) || (ctx.model.opsets.get("") ?? 1) >= opset || raiseOpset(opset, ctx))
        continue;
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "weight-format",
        why: `numbers of ${format.slice(1)} bits need opset ${opset}, which the model cannot be converted to`,
        from: format,
        to: "w8",
      });
      o = replaceFormat(o, format, "w8");
    }
    const centred = [...formatsOf(o)].some((f) => supportOf(ctx.target, f).symmetricOnly === true);
    if (centred && !o.symmetric) {
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "zero-points",
        why: "the target takes zero points of 0 only, so zero is the middle of every grid",
        from: "asymmetric",
        to: "symmetric",
      });
      o = { ...o, symmetric: support.symmetricOnly === true };
    }
    if (o.sequential > stagesAsked(o)) {
      const why = "the runtime here has no kernel for 4-bit floats, so nothing can be observed behind them";
      ctx.decide({ node: "", kind: "skipped", rule: "sequential", why });
      o = { ...o, sequential: stagesAsked(o) };
    }
    const weights = shared(graph, plan(graph, o, ctx), ctx);
    const stored = weights.filter((w) => w.format === o.format).length;
    if (support.note !== undefined && stored > 0) {
      const why = `${stored} ${stored === 1 ? "weight" : "weights"} in ${o.format}: ${support.note}`;
      ctx.decide({ node: "", kind: "applied", rule: "weight-format", why, to: o.format });
    }
    if (o.method === "palette" && o.format !== "f4" && ctx.target !== null && stored > 0)
      ctx.decide({ node: "", kind: "applied", rule: "palette", why: ctx.target.palettes, to: o.format });
    await storeWeights(graph, weights, o, ctx);
  },
});
