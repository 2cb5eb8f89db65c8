/** Share of energy beyond each width. */
export function energyTails(spectrum: Float64Array): Float64Array {
  const out = new Float64Array(spectrum.length + 1);
  for (let i = spectrum.length - 1; i >= 0; i--) out[i] = out[i + 1]! + spectrum[i]!;
  const sum = out[0]!;
  return out.map((v) => (sum > 0 ? v / sum : 0));
}

/** Heads are as wide as a multiple of this, which is what vector kernels like. */
const STEP = 4;

/** Width of the heads under the budget. */
export function widthFor(
  tail: Float64Array,
  { energy, ratio }: { readonly energy?: number; readonly ratio?: number },
): number {
  const width = tail.length - 1;
  const wanted = ratio === undefined ? tail.findIndex((t) => t <= 1 - (energy ?? 1)) : ratio * width;
  return Math.min(width, Math.max(STEP, Math.ceil(wanted / STEP) * STEP));
}
