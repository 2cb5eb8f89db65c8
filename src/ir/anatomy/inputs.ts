import { DTYPES } from "../dtype.ts";
import { type Node, opKey, type ValueId } from "../graph.ts";
import type { Structures } from "../pattern/index.ts";
import type { Flow } from "./flow.ts";
import type { Linears } from "./linear.ts";
import type { GraphInput, InputRole } from "./types.ts";
import { forward } from "./walk.ts";

/** Facts about one graph input that roles are decided by. */
interface Evidence {
  readonly value: ValueId;
  readonly name: string;
  readonly rank: number | null;
  readonly integer: boolean;
  /** Reaches Sin or Cos through plain steps. */
  readonly waves: boolean;
  /** Indexes a constant table. */
  readonly indexes: boolean;
  /** Is the activation of a layer, through plain steps. */
  readonly feedsLayer: boolean;
  /** Reaches queries, or only keys and values, or masks of attentions. */
  readonly queries: boolean;
  readonly keys: boolean;
  readonly masks: boolean;
  /** A layer sees the waves it makes (and not only rotary embeddings). */
  readonly embedded: boolean;
}

interface RoleRule {
  readonly role: InputRole;
  readonly when: (e: Evidence) => boolean;
  readonly why: string;
}

const named = (e: Evidence, pattern: RegExp): boolean => pattern.test(e.name.toLowerCase());

/** First row that holds decides. Structure comes first; names only break ties that structure leaves. */
const RULES: readonly RoleRule[] = [
  {
    role: "guidance",
    when: (e) => e.waves && (e.rank ?? 1) <= 1 && named(e, /guidance/),
    why: "a vector that is embedded by sines and cosines and named so",
  },
  {
    role: "timestep",
    when: (e) => e.waves && (e.rank ?? 1) <= 1,
    why: "a vector that is embedded by sines and cosines",
  },
  {
    role: "time-ids",
    when: (e) => e.waves && e.embedded,
    why: "a table of numbers that are embedded by sines and cosines and then projected",
  },
  { role: "positions", when: (e) => e.waves, why: "coordinates that become rotary embeddings" },
  {
    role: "timestep",
    when: (e) => e.indexes && (e.rank ?? 1) <= 1 && named(e, /time|^t$|step/),
    why: "indexes a table and is named so",
  },
  {
    role: "class-labels",
    when: (e) => e.indexes && (e.rank ?? 1) <= 1,
    why: "one index a sample into a constant table",
  },
  { role: "token-ids", when: (e) => e.indexes, why: "a sequence of indexes into a constant table" },
  {
    role: "mask",
    when: (e) => e.masks && !e.queries && !e.keys && !e.feedsLayer,
    why: "is added to attention scores",
  },
  {
    role: "timestep",
    when: (e) => !e.feedsLayer && (e.rank ?? 2) <= 1 && named(e, /time|^t$|sigma/),
    why: "a vector named so",
  },
  {
    role: "encoder-states",
    when: (e) => e.keys && !e.queries && (e.rank ?? 3) >= 3,
    why: "seen by keys and values of attentions, never by queries",
  },
  {
    role: "text-embeds",
    when: (e) => !e.integer && e.rank === 2 && !e.keys,
    why: "one vector a sample that joins the time embedding",
  },
  {
    role: "residual",
    when: (e) => !e.integer && (e.rank ?? 0) >= 3 && !e.feedsLayer && named(e, /residual/),
    why: "feature maps that are added inside the network",
  },
];

function attentionUse(
  flow: Flow,
  structures: Structures,
  bit: number,
): { queries: boolean; keys: boolean; masks: boolean } {
  let [queries, keys, masks] = [false, false, false];
  for (const a of structures.attentions) {
    queries ||= (flow.mask(a.q.value) & bit) !== 0;
    keys ||=
      (flow.mask(a.k.value) & bit) !== 0 &&
      (flow.mask(a.k.value) & flow.mask(a.q.value)) !== flow.mask(a.k.value);
    masks ||= a.masks.some((m) => (flow.mask(m.value) & bit) !== 0);
  }
  return { queries, keys, masks };
}

function indexesTable(flow: Flow, node: Node, value: ValueId): boolean {
  if (node.domain !== "" || (node.op !== "Gather" && node.op !== "OneHot")) return false;
  return node.op === "OneHot"
    ? node.inputs[0] === value
    : node.inputs[1] === value && flow.mask(node.inputs[0]!) === 0;
}

/** Queries of the attentions that see several token streams: the bits that every query has are the sample's. */
function scoreSample(e: Evidence, flow: Flow, outputs: readonly (number | null)[]): number {
  let score = 0;
  if (e.rank === 4 || e.rank === 5) score += 3;
  if (e.feedsLayer) score += 2;
  if (named(e, /encoder|context|text|prompt|cond/)) score -= 3;
  if (named(e, /sample|latent|^x(_t)?$|hidden_states/)) score += 2;
  if (e.rank !== null && outputs.includes(e.rank)) score += 1;
  return e.integer || (e.rank !== null && e.rank < 2) ? -1 : score + (flow.bit(e.value) === 1 ? 0.5 : 0);
}

/** Decides the role of every graph input. */
export function inputRoles(flow: Flow, linears: Linears, structures: Structures): GraphInput[] {
  const { graph } = flow;
  const evidence = graph.inputs
    .filter((v) => graph.find(v)?.init === null)
    .map((value): Evidence => {
      const type = graph.value(value).type;
      const dtype = type?.kind === "tensor" ? type.dtype : (flow.scope.shapes?.dtype(value) ?? null);
      const reach = forward(flow, linears, value);
      const waveNodes = reach.ends.filter(({ node }) => opKey(node) === "Sin" || opKey(node) === "Cos");
      const bit = flow.bit(value);
      return {
        value,
        name: graph.value(value).name,
        rank: flow.rank(value),
        integer: dtype !== null && ["int", "uint", "bool"].includes(DTYPES[dtype].kind),
        waves: waveNodes.length > 0,
        indexes: reach.ends.some((end) => indexesTable(flow, end.node, end.value)),
        feedsLayer: reach.layers.length > 0,
        embedded: linears.list.some((l) => (flow.mask(l.input) & bit) !== 0 && flow.rank(l.input) === 2),
        ...attentionUse(flow, structures, bit),
      };
    });
  const ranks = graph.outputs.map((o) => flow.rank(o));
  const decided = new Map<ValueId, GraphInput>();
  for (const e of evidence) {
    const rule = RULES.find((r) => r.when(e));
    if (rule !== undefined)
      decided.set(e.value, { value: e.value, name: e.name, role: rule.role, why: rule.why });
  }
  const rest = evidence.filter((e) => !decided.has(e.value));
  // A network of vectors alone: what would be pooled conditioning beside an image is its sample.
  if (!rest.some((e) => scoreSample(e, flow, ranks) > 0)) {
    const vector = evidence.find((e) => decided.get(e.value)?.role === "text-embeds");
    if (vector !== undefined) rest.push(vector);
  }
  let best: Evidence | null = null;
  let bestScore = 0;
  for (const e of rest) {
    const score = scoreSample(e, flow, ranks);
    if (score <= bestScore) continue;
    best = e;
    bestScore = score;
  }
  for (const e of rest) {
    const role: InputRole =
      e === best ? "sample" : !e.integer && e.rank === 3 ? "encoder-states" : e.masks ? "mask" : "other";
    const why =
      e === best
        ? "the tensor that the first layers read"
        : role === "encoder-states"
          ? "a second sequence of tokens"
          : role === "mask"
            ? "is added to attention scores"
            : "no rule fits";
    decided.set(e.value, { value: e.value, name: e.name, role, why });
  }
  return evidence.map((e) => decided.get(e.value)!);
}
