import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import { means } from "./checks.ts";
import { floatOr, type MatchScope, stringOr } from "./constant.ts";
import { escapes, further, type Mismatch, match, type Outcome } from "./match.ts";
import { any, constant, type NodePattern, oneOf, op, type Pattern } from "./pattern.ts";

/** A recognised elementwise non-linearity. */
export interface ActivationMatch {
  readonly kind: "silu" | "gelu" | "gelu-tanh" | "quick-gelu" | "relu" | "mish" | "elu" | "hard-swish";
  /** Which row of the pattern table matched: `op` for the operator itself. */
  readonly spelling: string;
  readonly x: ValueId;
  readonly output: ValueId;
  readonly nodes: readonly NodeId[];
  readonly escapes: readonly ValueId[];
}

interface Row {
  readonly kind: ActivationMatch["kind"];
  readonly name: string;
  readonly pattern: NodePattern;
}

const x = any("x");
const number = (want: number): Pattern => constant(undefined, means(want));
const times = (a: Pattern, b: Pattern): NodePattern => op("Mul", [a, b]);
const plus = (a: Pattern, b: Pattern): NodePattern => op("Add", [a, b]);

/** 0.5 · x · gate in every association, the 0.5 also as a division by 2. */
function halved(gate: Pattern): readonly NodePattern[] {
  return [
    times(times(x, gate), number(0.5)),
    times(times(x, number(0.5)), gate),
    times(x, times(gate, number(0.5))),
    times(op("Div", [x, number(2)]), gate),
    op("Div", [times(x, gate), number(2)]),
  ];
}

const erfGate = plus(
  op("Erf", [oneOf(op("Div", [x, number(Math.SQRT2)]), times(x, number(Math.SQRT1_2)))]),
  number(1),
);

const cubic = oneOf(
  plus(x, times(number(0.044715), oneOf(op("Pow", [x, number(3)]), times(x, times(x, x))))),
  plus(x, times(times(number(0.044715), x), times(x, x))),
  plus(x, times(times(times(number(0.044715), x), x), x)),
  times(x, plus(number(1), times(number(0.044715), oneOf(times(x, x), op("Pow", [x, number(2)]))))),
  times(x, plus(number(1), times(times(number(0.044715), x), x))),
);
const ROOT_2_PI = Math.sqrt(2 / Math.PI);
const tanhGate = plus(
  op("Tanh", [
    oneOf(
      times(number(ROOT_2_PI), cubic),
      times(times(x, number(ROOT_2_PI)), plus(number(1), times(number(0.044715), times(x, x)))),
    ),
  ]),
  number(1),
);

/** Non-linearities written out. The first row of a kind is what PyTorch's exporter writes. */
const ACTIVATION_SPELLINGS: readonly Row[] = [
  { kind: "silu", name: "mul-sigmoid", pattern: times(x, op("Sigmoid", [x])) },
  {
    kind: "quick-gelu",
    name: "mul-sigmoid-1.702",
    pattern: times(x, op("Sigmoid", [times(x, number(1.702))])),
  },
  ...halved(erfGate).map((pattern, i): Row => ({ kind: "gelu", name: `erf-${i}`, pattern })),
  ...halved(tanhGate).map((pattern, i): Row => ({ kind: "gelu-tanh", name: `tanh-${i}`, pattern })),
];

/** Recognises a written-out non-linearity whose last operation is `node`. */
export function matchActivation(
  scope: MatchScope,
  node: Node,
  kinds: readonly ActivationMatch["kind"][] = ["silu", "quick-gelu", "gelu", "gelu-tanh"],
): Outcome<ActivationMatch> {
  let worst: Mismatch | null = null;
  for (const row of ACTIVATION_SPELLINGS) {
    if (!kinds.includes(row.kind) || !row.pattern.ops.includes(opKey(node))) continue;
    const m = match(scope, node, row.pattern);
    if (!m.ok) {
      worst = further(worst, m);
      continue;
    }
    const output = node.outputs[0];
    if (output === null || output === undefined) continue;
    return {
      ok: true,
      value: {
        kind: row.kind,
        spelling: row.name,
        x: m.value("x"),
        output,
        nodes: m.nodes.map((n) => n.id),
        escapes: escapes(scope, m.nodes, output),
      },
    };
  }
  return worst ?? { ok: false, why: `${node.op} does not end such a pattern`, node: node.id };
}

/** What an operator that is a non-linearity by itself computes; `null` for others. */
const OPERATORS: Readonly<Record<string, (node: Node) => ActivationMatch["kind"] | null>> = {
  Gelu: (n) => (stringOr(n, "approximate", "none") === "tanh" ? "gelu-tanh" : "gelu"),
  "com.microsoft:Gelu": () => "gelu",
  "com.microsoft:FastGelu": (n) => ((n.inputs[1] ?? null) === null ? "gelu-tanh" : null),
  "com.microsoft:QuickGelu": (n) => {
    const alpha = floatOr(n, "alpha", 1.702);
    return Math.abs(alpha - 1) < 1e-6 ? "silu" : Math.abs(alpha - 1.702) < 1e-3 ? "quick-gelu" : null;
  },
  Swish: (n) => {
    const alpha = floatOr(n, "alpha", 1);
    return Math.abs(alpha - 1) < 1e-6 ? "silu" : Math.abs(alpha - 1.702) < 1e-3 ? "quick-gelu" : null;
  },
  Relu: () => "relu",
  Mish: () => "mish",
  Elu: () => "elu",
  HardSwish: () => "hard-swish",
};

/** Reads an activation operator (standard or `com.microsoft`). */
export function readActivationOperator(node: Node): Outcome<ActivationMatch> {
  const kind = OPERATORS[opKey(node)]?.(node) ?? null;
  const [input, output] = [node.inputs[0], node.outputs[0]];
  if (kind === null || input === null || input === undefined || output === null || output === undefined)
    return { ok: false, why: `${node.op} is not a non-linearity`, node: node.id };
  return {
    ok: true,
    value: { kind, spelling: "op", x: input, output, nodes: [node.id], escapes: [] },
  };
}
