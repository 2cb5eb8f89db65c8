/** Deepest nesting looked into; the parser of the engine itself accepts more, its error then has no position. */
const MAX_DEPTH = 500;

const SPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const STRING = /"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const WORD = /true|false|null/y;

/** First offence against RFC 8259 in a text that `JSON.parse` refused. Lines and columns count from 1. */
export function jsonErrorPosition(text: string): { line: number; column: number; problem: string } {
  let at = 0;
  let problem = "";
  const match = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const seen = (): string => (at >= text.length ? "the end of the file" : JSON.stringify(text[at]));
  const bad = (expected: string): false => {
    problem ||= `found ${seen()}, expected ${expected}`;
    return false;
  };
  const take = (char: string): boolean => {
    if (text[at] !== char) return false;
    at++;
    return true;
  };

  const value = (depth: number): boolean => {
    if (depth > MAX_DEPTH) return bad(`at most ${MAX_DEPTH} levels`);
    match(SPACE);
    const c = text[at];
    if (c === "{") return members(depth, "}", true);
    if (c === "[") return members(depth, "]", false);
    if (c === '"') return match(STRING) || bad("a string closed on its line");
    return match(NUMBER) || match(WORD) || bad("a value");
  };
  const members = (depth: number, close: string, keyed: boolean): boolean => {
    at++;
    match(SPACE);
    if (take(close)) return true;
    for (;;) {
      match(SPACE);
      if (keyed) {
        if (!match(STRING)) return bad("a key in double quotes");
        match(SPACE);
        if (!take(":")) return bad('":"');
      }
      if (!value(depth + 1)) return false;
      match(SPACE);
      if (take(close)) return true;
      if (!take(",")) return bad(`"," or "${close}"`);
    }
  };

  if (value(0)) {
    match(SPACE);
    if (at < text.length) bad("the end of the file");
  }
  const before = text.slice(0, at).split("\n");
  return {
    line: before.length,
    column: before[before.length - 1]!.length + 1,
    problem: problem || "malformed JSON",
  };
}
