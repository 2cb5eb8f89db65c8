import { elementCount } from "../../ir/dtype.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import type { PreviewLine } from "../pass.ts";
import { counted } from "../preview-text.ts";
import type { InputGroup } from "./groups.ts";

/** Bytes of a basis of some rank and the factors of its layers. */
export function basisBytes(g: InputGroup, rank: number): number {
  const outputs = g.layers.reduce((n, l) => n + elementCount(l.tensor.dims) / g.columns, 0);
  return 4 * rank * (g.columns + outputs);
}

/** Bytes of the weights of a group. */
export function groupBytes(g: InputGroup): number {
  return g.layers.reduce((n, l) => n + tensorBytes(l.tensor), 0);
}

/** Largest rank at which a basis takes fewer bytes than the weights, and with them fewer products. */
function payingRank(g: InputGroup): number {
  return Math.ceil(groupBytes(g) / basisBytes(g, 1)) - 1;
}

/** Groups with the ranks at which sharing would pay; what their inputs need is known only when they are sampled. */
export function previewBases(groups: readonly InputGroup[], sqnr: number): PreviewLine[] {
  const bytes = groups.reduce((n, g) => n + groupBytes(g), 0);
  const weights = groups.reduce((n, g) => n + g.layers.length, 0);
  return [
    {
      subject: "",
      what: `${counted(groups.length, "group")} of ${counted(weights, "weight")}, ${bytes} bytes; ranks are the least that keep ${sqnr} dB on sampled inputs`,
    },
    ...groups.map((g) => {
      const most = payingRank(g);
      const share = (100 * basisBytes(g, 1)) / groupBytes(g);
      return {
        subject: g.layers[0]!.node.name,
        what: `${g.layers.length} weights over ${g.columns} inputs, ${g.what}: ${groupBytes(g)} bytes, ${basisBytes(g, 1)} a rank (${share.toFixed(2)} % of the bytes and of the operations), pays up to rank ${Math.min(most, g.columns)}`,
      };
    }),
  ];
}
