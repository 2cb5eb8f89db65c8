/** One transposition: the axes at hand, taken together in blocks, and the order of the blocks behind it. */
export interface BlockMove {
  /** Axes in every block, by their number in the input of the whole permutation; blocks in order. */
  readonly blocks: readonly (readonly number[])[];
  /** Block that comes at every place. */
  readonly order: readonly number[];
}

/** Cuts a list after every element that its successor does not follow in `next`. */
function runs(list: readonly number[], next: ReadonlyMap<number, number>): number[][] {
  const out: number[][] = [];
  for (const axis of list) {
    const last = out.at(-1);
    if (last !== undefined && next.get(last.at(-1)!) === axis) last.push(axis);
    else out.push([axis]);
  }
  return out;
}

/** Every way to cut a list into `count` pieces, first cuts earliest. */
function* cuts<T>(list: readonly T[], count: number): Generator<readonly (readonly T[])[]> {
  if (count === 1) {
    yield [list];
    return;
  }
  for (let at = 1; at <= list.length - count + 1; at++)
    for (const rest of cuts(list.slice(at), count - 1)) yield [list.slice(0, at), ...rest];
}

/** Every order of `count` things, lexicographically. */
function* orders(count: number, taken: readonly number[] = []): Generator<readonly number[]> {
  if (taken.length === count) yield taken;
  else for (let i = 0; i < count; i++) if (!taken.includes(i)) yield* orders(count, [...taken, i]);
}

/** Axes that stay neighbours in their order count as one; what does not move at all comes down to none or one block. */
function step(list: readonly number[], goal: readonly number[], most: number): BlockMove {
  const next = new Map(goal.map((axis, i) => [axis, goal[i + 1] ?? -1]));
  const whole = runs(list, next);
  if (whole.length <= most) {
    const order = whole
      .map((_, i) => i)
      .sort((a, b) => goal.indexOf(whole[a]![0]!) - goal.indexOf(whole[b]![0]!));
    return { blocks: whole, order };
  }
  let best: { readonly move: BlockMove; readonly left: number } | null = null;
  for (const pieces of cuts(whole, most)) {
    const blocks = pieces.map((p) => p.flat());
    for (const order of orders(most)) {
      const left = runs(
        order.flatMap((i) => blocks[i]!),
        next,
      ).length;
      if (best === null || left < best.left) best = { move: { blocks, order }, left };
    }
  }
  return best!.move;
}

/**
 * A permutation of axes as transpositions of tensors of rank `most` and lower: axes that stay neighbours are one, and
 * where that does not suffice, each transposition brings together as many as it can. Place i of the result is axis
 * `goal[i]` of the input; axes of length 1 are best left out. At least three axes are needed: with those some pair that
 * belongs together can always be joined without parting another.
 */
export function blockMoves(goal: readonly number[], most: number): readonly BlockMove[] {
  if (most < 3) throw new Error(`a permutation is not split into tensors of rank ${most}`);
  const moves: BlockMove[] = [];
  let list: readonly number[] = [...goal].sort((a, b) => a - b);
  while (list.some((axis, i) => axis !== goal[i])) {
    const move = step(list, goal, most);
    moves.push(move);
    list = move.order.flatMap((i) => move.blocks[i]!);
  }
  return moves;
}
