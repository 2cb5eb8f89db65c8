import { invertLower } from "../linalg/triangular.ts";
import { dampedFactor, type Reader, secondMoments } from "./repair.ts";

/** Units in the order they are best removed, with what each removal adds to the output error. */
export interface Elimination {
  readonly order: readonly number[];
  /** E‖error‖² that each adds when the weights that are left make up for it; same length as `order`. */
  readonly costs: readonly number[];
}

/** (G + λ)⁻¹ of a reader's inputs. */
export function inverseMoments(reader: Reader, damp: number): Float64Array {
  const { size } = reader;
  const inverse = invertLower(dampedFactor(secondMoments(reader), size, damp), size);
  const out = new Float64Array(size * size);
  for (let k = 0; k < size; k++)
    for (let i = 0; i <= k; i++) {
      const left = inverse[k * size + i]!;
      if (left === 0) continue;
      for (let j = 0; j <= k; j++) out[i * size + j] = out[i * size + j]! + left * inverse[k * size + j]!;
    }
  return out;
}

/** Inverse of the block of some rows and columns, by Gauss-Jordan; blocks are small and positive definite. */
function blockInverse(a: Float64Array, size: number, at: Int32Array): Float64Array {
  const n = at.length;
  const m = Float64Array.from({ length: n * n }, (_, i) => a[at[Math.floor(i / n)]! * size + at[i % n]!]!);
  for (let p = 0; p < n; p++) {
    const pivot = 1 / m[p * n + p]!;
    m[p * n + p] = 1;
    for (let j = 0; j < n; j++) m[p * n + j] = m[p * n + j]! * pivot;
    for (let i = 0; i < n; i++) {
      if (i === p) continue;
      const f = m[i * n + p]!;
      m[i * n + p] = 0;
      for (let j = 0; j < n; j++) m[i * n + j] = m[i * n + j]! - f * m[p * n + j]!;
    }
  }
  return m;
}

/** State of one reader while inputs are removed. */
interface State {
  readonly reader: Reader;
  readonly weights: Float64Array;
  readonly inverse: Float64Array;
}

/** tr(W_u (H⁻¹_uu)⁻¹ W_uᵀ): the error that removing the inputs adds. */
function costOf({ reader, weights, inverse }: State, at: Int32Array): number {
  const { rows, size } = reader;
  const n = at.length;
  const block = blockInverse(inverse, size, at);
  let sum = 0;
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < n; i++) {
      const w = weights[r * size + at[i]!]!;
      for (let j = 0; j < n; j++) sum += w * block[i * n + j]! * weights[r * size + at[j]!]!;
    }
  return sum;
}

/** Takes inputs out: the other weights make up for them, and the inverse becomes that of the inputs that are left. */
function take({ reader, weights, inverse }: State, at: Int32Array): void {
  const { rows, size } = reader;
  const n = at.length;
  const block = blockInverse(inverse, size, at);
  const across = Float64Array.from(
    { length: n * size },
    (_, i) => inverse[at[Math.floor(i / size)]! * size + (i % size)]!,
  );
  const subtract = (target: Float64Array, count: number): void => {
    const factors = new Float64Array(n);
    for (let r = 0; r < count; r++) {
      for (let j = 0; j < n; j++) {
        let f = 0;
        for (let i = 0; i < n; i++) f += target[r * size + at[i]!]! * block[i * n + j]!;
        factors[j] = f;
      }
      for (let j = 0; j < n; j++) {
        const f = factors[j]!;
        if (f !== 0)
          for (let c = 0; c < size; c++)
            target[r * size + c] = target[r * size + c]! - f * across[j * size + c]!;
      }
    }
  };
  subtract(weights, rows);
  subtract(inverse, size);
}

/**
 * Optimal brain surgeon over units of inputs: again and again the unit whose removal costs least goes, and what is left
 * is refitted. Units may have inputs in several readers, whose errors add up with the given factors. At most `most`
 * units go, `batch` between refits.
 */
export function eliminate(
  readers: readonly {
    readonly reader: Reader;
    readonly units: readonly Int32Array[];
    readonly factor: number;
  }[],
  options: { readonly damp: number; readonly most: number; readonly batch: number },
): Elimination {
  const states = readers.map(
    ({ reader }): State => ({
      reader,
      weights: reader.weights.slice(),
      inverse: inverseMoments(reader, options.damp),
    }),
  );
  const left = new Set(readers[0]!.units.keys());
  const order: number[] = [];
  const costs: number[] = [];
  while (order.length < options.most && left.size > 0) {
    const priced = [...left].map((u) => {
      const cost = states.reduce((n, s, i) => n + readers[i]!.factor * costOf(s, readers[i]!.units[u]!), 0);
      return { u, cost };
    });
    priced.sort((a, b) => a.cost - b.cost || a.u - b.u);
    for (const { u, cost } of priced.slice(0, Math.min(options.batch, options.most - order.length))) {
      for (const [i, s] of states.entries()) take(s, readers[i]!.units[u]!);
      left.delete(u);
      order.push(u);
      costs.push(Math.max(0, cost));
    }
  }
  return { order, costs };
}
