import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DiffpressError } from "../../src/diagnostics/index.ts";
import type { Graph, Model, Node, ValueId } from "../../src/ir/graph.ts";
import { PatchBuilder } from "../../src/ir/patch.ts";
import { printGraph } from "../../src/ir/print.ts";
import { verifyModel } from "../../src/ir/verify.ts";
import { buildProgram, programs } from "./random-graph.ts";

/** One random edit; the numbers choose nodes and values modulo what is there. */
const edits = fc.array(fc.tuple(fc.nat(5), fc.nat(40), fc.nat(40)), { minLength: 1, maxLength: 10 });

function nodeAt(graph: Graph, i: number): Node {
  const nodes = [...graph.nodes()];
  return nodes[i % nodes.length]!;
}

function firstOutput(node: Node): ValueId {
  return node.outputs[0]!;
}

/** Applies one edit that is valid by construction. */
function edit(graph: Graph, [kind, a, b]: readonly [number, number, number]): void {
  const node = nodeAt(graph, a);
  const patch = new PatchBuilder(graph, `edit ${kind}`);
  const out = firstOutput(node);
  if (kind === 0) {
    // An Identity behind a node: users of the old value, the Identity excepted, read the new one.
    const [copy] = patch.node({ op: "Identity", inputs: [node.inputs[0] ?? out] });
    patch.replace(node, { inputs: [copy, ...node.inputs.slice(1)] });
    if (node.inputs[0] === undefined) return;
  } else if (kind === 1) {
    patch.replace(node, { attrs: new Map(node.attrs) });
  } else if (kind === 2) {
    // A twin of a node takes over its users.
    const twin = patch.node({
      op: node.op,
      inputs: node.inputs,
      outputs: node.outputs.length,
      attrs: Object.fromEntries(node.attrs),
    });
    for (const [i, o] of node.outputs.entries()) if (o !== null) patch.redirect(o, twin[i]!);
    patch.remove(node.id);
  } else if (kind === 3) {
    // Dead additions are allowed: removing them is the business of a pass.
    patch.node({ op: "Neg", inputs: [out] });
  } else if (kind === 4) {
    const dead = [...graph.nodes()].filter((n) =>
      n.outputs.every((o) => o === null || (!graph.isOutput(o) && graph.users(o).length === 0)),
    );
    patch.remove(...dead.map((n) => n.id));
  } else {
    const inputs = graph.inputs;
    patch.node({ op: "Add", inputs: [inputs[a % inputs.length]!, inputs[b % inputs.length]!] });
  }
  patch.apply();
}

function errors(model: Model): string[] {
  return verifyModel(model)
    .filter((d) => d.severity === "error")
    .map((d) => d.message);
}

describe("patches", () => {
  it("that are well formed keep the verifier and the signature happy", () => {
    fc.assert(
      fc.property(programs, edits, (program, list) => {
        const model = buildProgram(program);
        const names = model.graph.outputs.map((o) => model.graph.value(o).name);
        for (const e of list) {
          edit(model.graph, e);
          expect(errors(model)).toEqual([]);
          expect(model.graph.outputs.map((o) => model.graph.value(o).name)).toEqual(names);
        }
      }),
      { numRuns: 120, seed: 5 },
    );
  });

  it("that would break the graph are refused and leave it as it was", () => {
    fc.assert(
      fc.property(programs, fc.nat(2), fc.nat(40), (program, kind, a) => {
        const model = buildProgram(program);
        const { graph } = model;
        const node = nodeAt(graph, a);
        const out = firstOutput(node);
        const needed = graph.isOutput(out) || graph.users(out).length > 0;
        fc.pre(needed && node.outputs.length === 1);
        const before = printGraph(model);
        const patch = new PatchBuilder(graph, "bad");
        if (kind === 0) patch.remove(node.id);
        else if (kind === 1) {
          // A cycle: the node reads what depends on it.
          const [later] = patch.node({ op: "Relu", inputs: [out] });
          patch.replace(node, { inputs: [later] });
        } else patch.redirect(out, out).redirect(graph.inputs[0]!, out).redirect(out, graph.inputs[0]!);
        expect(() => patch.apply()).toThrow(DiffpressError);
        expect(printGraph(model)).toBe(before);
      }),
      { numRuns: 120, seed: 6 },
    );
  });
});
