import { fail } from "../diagnostics/index.ts";

/** The regular expression of a `match` or `exclude` option; `null` stays. Errors: OPTION_PATTERN_INVALID. */
export function optionPattern(pass: string, option: "match" | "exclude", text: string | null): RegExp | null {
  if (text === null) return null;
  try {
    return new RegExp(text);
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    return fail("OPTION_PATTERN_INVALID", { pass, option, pattern: text, problem }, cause);
  }
}
