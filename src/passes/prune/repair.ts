import type { Graph } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { repairAcross } from "../../numeric/prune/across.ts";
import type { Repaired } from "../../numeric/prune/repair.ts";
import { repairAcrossTensor } from "../../runtime/kernels/repair-across.ts";
import { columnsOf, repairTensor } from "../../runtime/kernels/repair-columns.ts";
import { correctedBias } from "../quantize/layer-bias.ts";
import { useKey } from "./apply.ts";
import { type Cut, readerAt } from "./levels.ts";
import type { PruneOptions } from "./options.ts";
import type { AcrossReaders } from "./prefix.ts";
import type { GroupReader } from "./readers.ts";

/** Input channels of a reader that stay when the first units of an order go. */
function keptChannels(r: GroupReader, cut: Cut, count: number): number[] {
  const gone = new Set(cut.order.slice(0, count).flatMap((u) => [...r.consumer.columns[u]!]));
  const channels = r.layer.tensor.dims[r.consumer.axis]!;
  return Array.from({ length: channels }, (_, i) => i).filter((i) => !gone.has(i));
}

/** What a reader becomes when the first units of a cut's order go, with the error that is predicted. */
export function repairOf(
  r: GroupReader,
  { cut, count }: { readonly cut: Cut; readonly count: number },
  o: PruneOptions,
  across: AcrossReaders,
): Repaired {
  const behind = across.get(r.consumer.node);
  if (behind === undefined || !o.repair) return readerAt(r, cut.order, count, o);
  const keep = columnsOf(keptChannels(r, cut, count), r.params);
  return repairAcross(behind.reader, keep, o.damp);
}

/** Weights and biases of everything that reads what goes, as derivations, in their old shapes. */
export function repaired(
  cuts: readonly Cut[],
  counts: readonly number[],
  o: PruneOptions,
  use: { readonly graph: Graph; readonly across?: AcrossReaders },
): Map<string, Tensor> {
  const { graph, across } = use;
  const out = new Map<string, Tensor>();
  const each = (r: GroupReader, cut: Cut, count: number): void => {
    const keep = keptChannels(r, cut, count);
    const behind = across?.get(r.consumer.node);
    const { tensor } = r.layer;
    const made =
      behind === undefined
        ? repairTensor(
            tensor,
            { ...r.params, keep, damp: o.damp },
            { gram: r.moments.gram, mean: r.bias === null ? null : r.moments.mean },
          )
        : repairAcrossTensor(
            { own: tensor, original: behind.layer.tensor },
            { ...r.params, keep, damp: o.damp, biased: behind.bias !== null },
            behind.tensors,
          );
    out.set(useKey(r.consumer.node, r.consumer.input), made.weight);
    if (r.bias === null || made.correction === null) return;
    const [user] = graph.users(r.bias.value).map((id) => graph.node(id));
    const bias = correctedBias(behind?.bias ?? r.bias, made.correction);
    out.set(useKey(user!.id, user!.inputs.indexOf(r.bias.value)), bias);
  };
  for (const [i, cut] of cuts.entries())
    if (counts[i]! > 0 && o.repair) for (const r of cut.readers ?? []) each(r, cut, counts[i]!);
  return out;
}
