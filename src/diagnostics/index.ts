import { calibrateCodes } from "./calibrate.ts";
import { compileCodes } from "./compile.ts";
import type { CodeSpec, Severity } from "./define.ts";
import { irCodes } from "./ir.ts";
import { onnxCodes } from "./onnx.ts";
import { opsCodes } from "./ops.ts";
import { passesCodes } from "./passes.ts";
import { runtimeCodes } from "./runtime.ts";
import { targetsCodes } from "./targets.ts";

/** Every code, by area. `docs/codes.md` is generated from it. */
export const CODES = {
  ...irCodes,
  ...onnxCodes,
  ...opsCodes,
  ...runtimeCodes,
  ...passesCodes,
  ...calibrateCodes,
  ...targetsCodes,
  ...compileCodes,
};

export type Code = keyof typeof CODES;
export type Details<C extends Code> = (typeof CODES)[C] extends CodeSpec<infer D> ? D : never;

/** A coded message with its facts; tests and scripts read `code` and `details`, never the prose. */
export interface Diagnostic<C extends Code = Code> {
  readonly code: C;
  readonly severity: Severity;
  readonly message: string;
  readonly details: Details<C>;
}

/** Builds a diagnostic. */
export function diagnostic<C extends Code>(code: C, details: Details<C>): Diagnostic<C> {
  const spec = CODES[code] as unknown as CodeSpec<Details<C>>;
  return { code, severity: spec.severity, message: spec.message(details), details };
}

/** A user mistake or a file fault. Programmer mistakes are plain `Error`s. */
export class DiffpressError extends Error {
  override readonly name = "DiffpressError";
  readonly diagnostic: Diagnostic;
  constructor(d: Diagnostic, cause?: unknown) {
    super(d.message, cause === undefined ? undefined : { cause });
    this.diagnostic = d;
  }
  get code(): Code {
    return this.diagnostic.code;
  }
}

/** Throws a {@link DiffpressError}. */
export function fail<C extends Code>(code: C, details: Details<C>, cause?: unknown): never {
  throw new DiffpressError(diagnostic(code, details) as unknown as Diagnostic, cause);
}
