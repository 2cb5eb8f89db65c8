/** What a run tells whoever watches. Order is deterministic; there is no clock in it. */
export type CompileEvent =
  /** A piece of work begins: a pass, reading, writing, a check. */
  | {
      readonly kind: "stage";
      readonly target: string | null;
      readonly component: string | null;
      readonly stage: string;
      readonly step: number;
      readonly steps: number;
    }
  /** Bytes of the files of one component written so far. */
  | {
      readonly kind: "bytes";
      readonly target: string;
      readonly component: string;
      readonly done: number;
      readonly total: number;
    }
  /** Runs of the denoiser done so far in a verification. */
  | { readonly kind: "runs"; readonly target: string; readonly done: number; readonly total: number };

/** Takes events; must not throw. */
export type OnCompileEvent = (event: CompileEvent) => void;
