import type { Factor, Ledger } from "./ledger.ts";

/** Disjoint sets over 0 to n. */
class Sets {
  readonly #parent: Int32Array;
  constructor(n: number) {
    this.#parent = Int32Array.from({ length: n }, (_, i) => i);
  }
  find(i: number): number {
    const p = this.#parent;
    while (p[i] !== i) {
      p[i] = p[p[i]!]!;
      i = p[i]!;
    }
    return i;
  }
  /** The lower root stays, so that results do not depend on the order of calls. */
  join(a: number, b: number): void {
    const [x, y] = [this.find(a), this.find(b)];
    if (x !== y) this.#parent[Math.max(x, y)] = Math.min(x, y);
  }
}

/** Elements of all factors of a graph, and which of them are the same. */
export interface Elements {
  /** The factor that stands for all factors that are the same from end to end. */
  rep(f: Factor): Factor;
  /** Place of a factor's first element; -1 for symbolic factors. */
  start(f: Factor): number;
  /** Root of the set an element belongs to. */
  root(element: number): number;
  readonly count: number;
  /** Why an element's set has to stay, by root. */
  readonly frozen: ReadonlyMap<number, string>;
  /** What takes a statistic over an element's set, by root. */
  readonly mixed: ReadonlyMap<number, string>;
}

/** Reasons by factor: whole factors only. */
function wholeFreezes(ledger: Ledger, rep: (f: Factor) => Factor): Map<number, string> {
  const out = new Map<number, string>();
  for (const { factor, start, count, why } of ledger.freezes)
    if (start === 0 && count === factor.length && !out.has(rep(factor).id)) out.set(rep(factor).id, why);
  return out;
}

/**
 * Decides which elements are the same. Where a factor is cut into several, elements of the outermost part that can be
 * removed move together (a head, a group of channels), and the parts inside keep their length.
 */
export function elementsOf(ledger: Ledger): Elements {
  const { factors, spans } = ledger;
  const same = new Sets(factors.length);
  for (const { whole, start, parts } of spans)
    if (parts.length === 1 && start === 0 && parts[0]!.length === whole.length)
      same.join(whole.id, parts[0]!.id);
  const rep = (f: Factor): Factor => factors[same.find(f.id)]!;

  const starts = new Int32Array(factors.length).fill(-1);
  let count = 0;
  for (const f of factors) {
    if (typeof f.length !== "number" || rep(f).id !== f.id) continue;
    starts[f.id] = count;
    count += f.length;
  }
  const start = (f: Factor): number => starts[rep(f).id]!;

  const stays = wholeFreezes(ledger, rep);
  const freezes = [...ledger.freezes];
  const live = spans.map(({ whole, start: at, parts }) => {
    if (parts.length === 1) return 0;
    const k = parts.findIndex((p) => !stays.has(rep(p).id));
    for (const [i, p] of parts.entries()) {
      if (i === k || stays.has(rep(p).id)) continue;
      const why = `${p.length} neighbours move together`;
      stays.set(rep(p).id, why);
      freezes.push({ factor: p, start: 0, count: p.length as number, why });
    }
    if (k < 0) {
      const n = parts.reduce((a, p) => a * (p.length as number), 1);
      freezes.push({ factor: whole, start: at, count: n, why: stays.get(rep(parts[0]!).id)! });
    }
    return k;
  });

  const sets = new Sets(count);
  for (const [i, { whole, start: at, parts }] of spans.entries()) {
    const k = live[i]!;
    if (k < 0) continue;
    const length = parts[k]!.length as number;
    const inner = parts.slice(k + 1).reduce((n, p) => n * (p.length as number), 1);
    const n = parts.reduce((a, p) => a * (p.length as number), 1);
    const [from, to] = [start(whole) + at, start(parts[k]!)];
    for (let j = 0; j < n; j++) sets.join(from + j, to + (Math.floor(j / inner) % length));
  }

  const frozen = new Map<number, string>();
  for (const f of freezes)
    for (let j = 0; j < f.count; j++) {
      const root = sets.find(start(f.factor) + f.start + j);
      if (!frozen.has(root)) frozen.set(root, f.why);
    }
  const mixed = new Map<number, string>();
  for (const { factor, why } of ledger.mixes)
    for (let j = 0; j < (factor.length as number); j++) {
      const root = sets.find(start(factor) + j);
      if (!mixed.has(root)) mixed.set(root, why);
    }
  return { rep, start, root: (e) => sets.find(e), count, frozen, mixed };
}
