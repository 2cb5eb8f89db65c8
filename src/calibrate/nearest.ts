/** Edit distance (Levenshtein) between two short names. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The known name closest to a mistyped one, ignoring case; `null` when none is within `limit` (default a third). */
export function nearestName(
  name: string,
  known: readonly string[],
  limit = Math.max(2, Math.floor(name.length / 3)),
): string | null {
  let best: string | null = null;
  let distance = limit + 1;
  if (name.length > 200) return null;
  for (const k of known) {
    const d = editDistance(name.toLowerCase(), k.toLowerCase());
    if (d < distance) [best, distance] = [k, d];
  }
  return best;
}
