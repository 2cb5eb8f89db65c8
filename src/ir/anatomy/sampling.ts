import { type Node, opKey, type ValueId } from "../graph.ts";
import { intOr } from "../pattern/constant.ts";
import type { Draft, Workshop } from "./draft.ts";
import type { ResBlockPart, SamplerPart, SkipConcatPart } from "./types.ts";
import { forward, ordered } from "./walk.ts";

/** Concatenations of the stream with features kept from earlier: along channels of images or of tokens. */
export function addSkipConcats(w: Workshop): void {
  const { flow } = w;
  for (const node of flow.graph.nodes()) {
    if (opKey(node) !== "Concat" || node.inputs.length < 2) continue;
    const output = node.outputs[0];
    if (output === null || output === undefined) continue;
    const rank = flow.rank(output);
    const raw = intOr(node, "axis", 0);
    const axis = raw < 0 && rank !== null ? raw + rank : raw;
    const operands = node.inputs.filter((i): i is ValueId => i !== null);
    if (operands.some((v) => (flow.mask(v) & w.bits.sample) === 0)) continue;
    const images = rank === 4 && axis === 1;
    // Token networks: the stream must go on from the kept operand, else it is the two halves of one tensor.
    const tokens = rank === 3 && axis === 2 && operands.some((v) => flow.users(v).length > 1);
    if (!images && !tokens) continue;
    const age = (v: ValueId): number => {
      const p = flow.graph.producer(v);
      return p === undefined ? -1 : flow.at(p.id);
    };
    const main = operands.reduce((a, b) => (age(b) > age(a) ? b : a));
    const skips = operands.filter((v) => v !== main);
    if (skips.length === 0 || (tokens && !forward(flow, w.linears, output).layers.length)) continue;
    w.add<SkipConcatPart>({
      kind: "skip-concat",
      nodes: new Set([node.id]),
      naming: null,
      input: main,
      output,
      finish: (base) => ({
        ...base,
        kind: "skip-concat",
        axis,
        main,
        skips,
        widths: operands.map((v) => flow.dim(v, axis)),
      }),
    });
  }
}

/** Interpolation in front of a convolution, going back through plain steps. */
function enlarges(w: Workshop, value: ValueId): Node | undefined {
  const node = w.flow.graph.producer(w.root(value));
  const name = node === undefined ? "" : opKey(node);
  return name === "Resize" || name === "Upsample" ? node : undefined;
}

/** Finds down- and upsamplers outside residual blocks. */
export function addSamplers(w: Workshop): void {
  const { flow } = w;
  const inside = new Set(
    w.drafts
      .filter((d) => d.kind === "resblock")
      .flatMap((d) => [...(d as unknown as Draft<ResBlockPart>).nodes]),
  );
  const add = (
    kind: SamplerPart["kind"],
    nodes: readonly Node[],
    input: ValueId,
    output: ValueId,
    conv: Node | null,
  ): void => {
    w.add<SamplerPart>({
      kind,
      nodes: new Set(ordered(flow, nodes)),
      naming: conv === null ? null : [conv.id],
      input,
      output,
      finish: (base) => ({ ...base, kind, conv: conv?.id ?? null }),
    });
  };
  const used = new Set<Node>();
  for (const l of w.linears.list) {
    if (l.kernel.length === 0 || w.kinds.has(l.node.id)) continue;
    if ((flow.mask(l.input) & w.bits.sample) === 0) continue;
    const strided = l.strides.some((s) => s > 1);
    const resize = enlarges(w, l.input);
    if (l.transposed && strided) {
      w.name(l, "upsample");
      add("upsample", [l.node], l.input, l.output, l.node);
    } else if (resize !== undefined) {
      w.name(l, "upsample");
      used.add(resize);
      add("upsample", [resize, l.node], resize.inputs[0] ?? l.input, l.output, l.node);
    } else if (strided && w.root(l.input) !== samplePath(w, l.input)) {
      w.name(l, "downsample");
      add("downsample", [l.node], l.input, l.output, l.node);
    }
  }
  for (const node of flow.graph.nodes()) {
    const name = opKey(node);
    const [input, output] = [node.inputs[0], node.outputs[0]];
    if (used.has(node) || inside.has(node.id) || input === null || input === undefined) continue;
    if (output === null || output === undefined || (flow.mask(input) & w.bits.sample) === 0) continue;
    if (name === "Resize" || name === "Upsample") add("upsample", [node], input, output, null);
    else if (name === "AveragePool" || name === "MaxPool") add("downsample", [node], input, output, null);
  }
}

/** The graph input a value is, plain steps aside; `null` when a computation lies between. */
function samplePath(w: Workshop, value: ValueId): ValueId | null {
  const root = w.root(value);
  return w.flow.graph.inputs.includes(root) ? root : null;
}
