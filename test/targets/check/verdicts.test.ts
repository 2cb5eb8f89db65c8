import { afterAll, beforeAll, describe, expect, it } from "vitest";
import fc from "fast-check";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { type Model, type Node, nodeReads, type ValueId } from "../../../src/ir/graph.ts";
import { createRuntime, optimizedOps, type Runtime } from "../../../src/runtime/index.ts";
import { checkModel, checkView } from "../../../src/targets/check/check.ts";
import { countPartitions } from "../../../src/targets/check/partition.ts";
import type { TargetCheck } from "../../../src/targets/check/types.ts";
import { makeView } from "../../../src/targets/check/view.ts";
import { target } from "../../../src/targets/index.ts";
import { type Mini, mini } from "./graphs.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

async function check(model: Model, name: string): Promise<TargetCheck> {
  const [found] = await checkModel(model, [target(name)]);
  return found!;
}

const layer = (b: Mini, x: ValueId, closed: boolean): ValueId => {
  const y = b.node("Conv", [x, b.weight([16, 16, 1, 1])]);
  return closed ? b.pair(y, { scale: 0.2 }) : y;
};

describe("verdicts", () => {
  it.each([0, 1, 2, 3, 4])(
    "count as many integer convolutions as the session has, %i of 4 open",
    async (open) => {
      const model = mini(21, (b) => {
        let x = b.pair(b.x([1, 16, 4, 4]));
        for (let k = 0; k < 4; k++)
          x = k < open ? b.pair(b.node("Tanh", [layer(b, x, false)])) : layer(b, x, true);
        return x;
      });
      const { nodes } = await check(model, "cpu-x64");
      const ops = await optimizedOps(runtime, model);
      const count = (verdict: string): number =>
        nodes.filter((n) => n.op === "Conv" && n.verdict === verdict).length;
      const floats = [...ops]
        .filter(([op]) => /^(Conv|com\.microsoft(\.nchwc)?:(Fused)?Conv)$/.test(op))
        .reduce((n, [, k]) => n + k, 0);
      expect(count("quantized")).toBe(ops.get("com.microsoft:QLinearConv") ?? 0);
      expect(count("float")).toBe(floats);
    },
  );
  it("name where a node leaves and why, and how much work goes with it", async () => {
    const model = mini(21, (b) => b.node("Sin", [b.node("MatMul", [b.x([4, 8]), b.floats([8, 16])])]));
    const found = await check(model, "coreml");
    const sine = found.nodes.find((n) => n.op === "Sin")!;
    expect(sine.verdict).toBe("leaves");
    expect(sine.why).toContain("CML-1");
    // 2·4·8·16 multiply-adds and one operation for each of the 64 sines.
    expect(found.flops!.total).toBe(1024 + 64);
    expect(found.flops!.share).toBeCloseTo(1024 / 1088, 12);
    expect(found.verdicts).toEqual({ quantized: 0, float: 1, leaves: 1 });
  });
  it("leave out what folds when the model loads", async () => {
    const model = mini(21, (b) => {
      const w = b.node("Mul", [
        b.node("Cast", [b.int("i8", [8, 4], (i) => i)], { to: 1 }),
        b.floats([], () => 0.1),
      ]);
      return b.node("MatMul", [b.x([4, 8]), w]);
    });
    expect((await check(model, "webgpu")).nodes.map((n) => n.op)).toEqual(["MatMul"]);
  });
  it("give no share where a length is open, and one where it is given", async () => {
    const b = new ModelBuilder({ opset: 21 });
    const model = b.output(b.node("Relu", [b.input("x", "f32", ["n", 4])]), "y", null).build();
    expect((await check(model, "cuda")).flops).toBeNull();
    const [bound] = await checkModel(model, [target("cuda")], { bindings: { n: 3 } });
    expect(bound!.flops).toEqual({ total: 12, share: 1 });
  });
  it("are those of the variant asked for", async () => {
    const model = mini(21, (b) => b.node("Relu", [b.x([4])]));
    expect((await check(model, "qnn-htp")).verdicts.leaves).toBe(0);
    expect((await check(model, "qnn-htp:v69")).verdicts.leaves).toBe(1);
    expect((await check({ ...model, opsets: new Map([["", 25]]) }, "tensorrt:11.x")).counts.reject).toBe(0);
    expect((await check({ ...model, opsets: new Map([["", 25]]) }, "tensorrt:10.x")).counts.reject).toBe(1);
  });
});

/** A graph of unary and binary nodes over earlier values; `S` stands for nodes that leave. */
const graphs = fc
  .array(fc.record({ away: fc.boolean(), a: fc.nat(), b: fc.option(fc.nat(), { nil: null }) }), {
    minLength: 1,
    maxLength: 14,
  })
  .map((rows) => {
    const b = new ModelBuilder({ opset: 21 });
    const values = [b.input("x", "f32", [2])];
    for (const r of rows) {
      const [one, two] = [values[r.a % values.length]!, r.b === null ? null : values[r.b % values.length]!];
      values.push(
        two === null ? b.node(r.away ? "Sin" : "Relu", [one]) : b.node(r.away ? "Sub" : "Add", [one, two]),
      );
    }
    return b.output(values.at(-1)!, "y", null).build();
  });
const away = (n: Node): boolean => n.op === "Sin" || n.op === "Sub";

/** Fewest groups of connected accelerated nodes that can run one after the other with the rest, by trying all of them. */
function fewest(model: Model): number {
  const nodes = [...model.graph.nodes()];
  const before = nodes.map((n) =>
    nodeReads(n)
      .flatMap((v) => nodes.findIndex((p) => p.outputs.includes(v)))
      .filter((i) => i >= 0),
  );
  const own = nodes.map((_, i) => i).filter((i) => !away(nodes[i]!));
  const group = new Map<number, number>();
  let best = own.length;
  const runs = (): boolean => {
    const of = (i: number): string => (group.has(i) ? `g${group.get(i)}` : `n${i}`);
    const edges = new Map<string, Set<string>>();
    for (const [i, list] of before.entries())
      for (const p of list) if (of(p) !== of(i)) edges.set(of(i), (edges.get(of(i)) ?? new Set()).add(of(p)));
    const state = new Map<string, number>();
    const visit = (at: string): boolean => {
      if (state.get(at) === 2) return true;
      if (state.get(at) === 1) return false;
      state.set(at, 1);
      for (const e of edges.get(at) ?? []) if (!visit(e)) return false;
      state.set(at, 2);
      return true;
    };
    return [...edges.keys()].every(visit);
  };
  const place = (k: number, groups: number): void => {
    if (groups >= best) return;
    if (k === own.length) {
      if (runs()) best = groups;
      return;
    }
    for (let g = 0; g <= groups; g++) {
      group.set(own[k]!, g);
      place(k + 1, Math.max(groups, g + 1));
    }
    group.delete(own[k]!);
  };
  place(0, 0);
  return best;
}

describe("partitions", () => {
  it("are never fewer than any order of calls allows, and one where nothing leaves", () => {
    fc.assert(
      fc.property(graphs, (model) => {
        const view = makeView(model, { constants: new Map() });
        const nodes = [...model.graph.nodes()];
        const found = countPartitions(view, away);
        const accelerated = nodes.filter((n) => !away(n)).length;
        expect(found).toBeLessThanOrEqual(accelerated);
        if (accelerated <= 7) expect(found).toBeGreaterThanOrEqual(fewest(model));
      }),
      { numRuns: 60 },
    );
  });
  it("break at a node that leaves on the way, and not at one beside it", () => {
    const chain = mini(21, (b) => b.node("Relu", [b.node("Sin", [b.node("Relu", [b.x([4])])])]));
    const beside = mini(21, (b) => {
      const x = b.x([4]);
      return b.node("Add", [b.node("Relu", [b.node("Relu", [x])]), b.node("Sin", [x])]);
    });
    const count = (m: Model): number =>
      checkView(makeView(m, { constants: new Map() }), target("coreml")).partitions;
    expect(count(chain)).toBe(2);
    expect(count(beside)).toBe(1);
  });
});
