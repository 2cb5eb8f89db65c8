import type { Shape } from "../ir/types.ts";

/** How much of a model something is. */
export interface Share {
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
}

/** A graph input or output. `role` is what it is to a diffusion model; `null` when it has none we know. */
export interface PortInfo {
  readonly name: string;
  readonly dtype: string | null;
  readonly shape: Shape;
  readonly role: string | null;
}

/** One model file, looked at without reading a weight. */
export interface ComponentInspection {
  readonly name: string;
  readonly file: string;
  readonly denoiser: boolean;
  readonly irVersion: number;
  readonly opsets: { readonly [domain: string]: number };
  readonly producer: string;
  readonly nodes: number;
  readonly total: Share;
  readonly byDtype: readonly ({ readonly dtype: string } & Share)[];
  /** By part of the network (attention, residual blocks, time path …). */
  readonly byPart: readonly ({ readonly part: string; readonly nodes: number } & Share)[];
  readonly ops: readonly { readonly op: string; readonly count: number }[];
  /** FLOPs of one run at `shape`; `null` when lengths are missing. */
  readonly flops: number | null;
  /** Dims whose lengths nothing says: give them to have FLOPs counted. */
  readonly missing: readonly string[];
  /** Lengths assumed for symbolic dims: given, or what static-shape targets would take. */
  readonly shape: { readonly [dim: string]: number };
  readonly inputs: readonly PortInfo[];
  readonly outputs: readonly PortInfo[];
  /** Names `--shape` takes for this component. */
  readonly dims: readonly string[];
  readonly largest: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly dims: readonly number[];
    readonly bytes: number;
  }[];
}

/** What a preset would make of the input, estimated from shapes alone. */
export interface PresetEstimate {
  readonly preset: string;
  readonly summary: string;
  /** Weight bytes of all components, each in the format the preset has for it. */
  readonly bytes: number;
  readonly share: number;
}

/** `inspect --json`. */
export interface Inspection {
  readonly source: string;
  readonly kind: "pipeline" | "model";
  readonly pipeline: {
    readonly className: string | null;
    readonly scheduler: string | null;
    readonly prediction: string | null;
  } | null;
  readonly components: readonly ComponentInspection[];
  readonly presets: readonly PresetEstimate[];
}
