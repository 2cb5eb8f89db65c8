import type { Graph } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { repairTensor } from "../../runtime/kernels/repair-columns.ts";
import { correctedBias } from "../quantize/layer-bias.ts";
import { useKey } from "./apply.ts";
import type { Cut } from "./levels.ts";
import type { PruneOptions } from "./options.ts";
import type { GroupReader } from "./readers.ts";

/** Weights and biases of everything that reads what goes, as derivations, in their old shapes. */
export function repaired(
  cuts: readonly Cut[],
  counts: readonly number[],
  o: PruneOptions,
  graph: Graph,
): Map<string, Tensor> {
  const out = new Map<string, Tensor>();
  const each = (r: GroupReader, cut: Cut, count: number): void => {
    const gone = new Set(cut.order.slice(0, count).flatMap((u) => [...r.consumer.columns[u]!]));
    const channels = r.layer.tensor.dims[r.consumer.axis]!;
    const keep = Array.from({ length: channels }, (_, i) => i).filter((i) => !gone.has(i));
    const params = { ...r.params, keep, damp: o.repair ? o.damp : null };
    const mean = r.bias === null ? null : r.moments.mean;
    const made = repairTensor(r.layer.tensor, params, { gram: r.moments.gram, mean });
    out.set(useKey(r.consumer.node, r.consumer.input), made.weight);
    if (r.bias === null || made.correction === null) return;
    const [user] = graph.users(r.bias.value).map((id) => graph.node(id));
    out.set(useKey(user!.id, user!.inputs.indexOf(r.bias.value)), correctedBias(r.bias, made.correction));
  };
  for (const [i, cut] of cuts.entries())
    if (counts[i]! > 0 && o.repair) for (const r of cut.readers ?? []) each(r, cut, counts[i]!);
  return out;
}
