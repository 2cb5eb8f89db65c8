export type Severity = "error" | "warning" | "note";

/** One kind of message. Order of the text: what was found, what was expected, where, what to do. */
export interface CodeSpec<D> {
  readonly severity: Severity;
  readonly message: (details: D) => string;
}

/** An error code: the run stops. */
export function error<D>(message: (details: D) => string): CodeSpec<D> {
  return { severity: "error", message };
}
/** A warning code: the run goes on, the user should look. */
export function warning<D>(message: (details: D) => string): CodeSpec<D> {
  return { severity: "warning", message };
}
