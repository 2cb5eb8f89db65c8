import { expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { shortenNames } from "../../../src/passes/legalise/shorten-names.ts";
import { run } from "../../targets/harness.ts";

/** A graph with long inner names, inputs whose names look like short ones, and a subgraph that sees the outside. */
function model() {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("0", "f32", [2]);
  const yes = b.input("1", "bool", []);
  const w = b.constant(f32Tensor([1, 2]), "a.very.long.weight.name");
  const sum = b.node("Add", [x, w], {}, { name: "/a/very/long/scope/Add" });
  const branch = (name: string, op: string) =>
    b.subgraph(name, (g) => {
      g.output(g.node(op, [sum], {}, { name: "3", outputNames: ["3"] }), "3");
    });
  const y = b.node("If", [yes], { then_branch: branch("t", "Relu"), else_branch: branch("e", "Neg") });
  return b.output(y, "result").build();
}

it("inner names become short and stay unique; the interface and subgraphs keep theirs", async () => {
  const m = model();
  await run(m, shortenNames);
  const { graph } = m;
  expect(graph.inputs.map((id) => graph.value(id).name)).toEqual(["0", "1"]);
  expect(graph.outputs.map((id) => graph.value(id).name)).toEqual(["result"]);
  const names = [...graph.values()].map((v) => v.name);
  expect(new Set(names).size).toBe(names.length);
  const inner = names.filter((n) => !["0", "1", "result"].includes(n));
  expect(inner.length).toBe(2);
  expect(inner.every((n) => n.length === 1 && n !== "3")).toBe(true);
  expect([...graph.nodes()].map((n) => n.name)).toEqual(["0", "1"]);
});
