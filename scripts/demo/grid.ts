import { encode } from "fast-png";
import { ADVANCE, drawText, HEIGHT } from "./font.ts";

/** One RGB picture: three planes of `size`×`size` values in [-1, 1]. */
export interface Picture {
  readonly size: number;
  readonly planes: Float32Array;
}

/** A labelled row of groups; every group holds one picture per column label. */
export interface GridRow {
  readonly label: string;
  readonly groups: readonly (readonly Picture[])[];
}

type Colour = readonly [number, number, number];

const PAPER: Colour = [250, 250, 248];
const INK: Colour = [40, 42, 48];
const FAINT: Colour = [130, 134, 142];
const FRAME: Colour = [214, 216, 220];
const ACCENT: Colour = [44, 110, 180];

/** Screen pixels per picture pixel. */
const SCALE = 6;
const GAP = 6;
const GROUP_GAP = 30;
const MARGIN = 28;
const TEXT = 2;
/** Rows of title and subtitle with the gap below. */
const HEADLINE = HEIGHT * 3 + 14 + HEIGHT * TEXT + 30;

/**
 * Draws pictures side by side: a row per condition, a group per seed, a column per build, each magnified without
 * smoothing so that single pixels can be compared. Returns a PNG file.
 */
export function sampleGrid(input: {
  readonly title: string;
  readonly subtitle: string;
  readonly columns: readonly string[];
  readonly groupLabels: readonly string[];
  readonly rows: readonly GridRow[];
}): Uint8Array {
  const size = input.rows[0]!.groups[0]![0]!.size * SCALE;
  const labelWidth = Math.max(...input.rows.map((r) => r.label.length)) * ADVANCE * TEXT + 18;
  const groupWidth = input.columns.length * (size + GAP) - GAP;
  const header = MARGIN + HEADLINE + (HEIGHT * TEXT + 10) * 2;
  const width = MARGIN * 2 + labelWidth + input.groupLabels.length * (groupWidth + GROUP_GAP) - GROUP_GAP;
  const height = header + input.rows.length * (size + GAP * 2) + MARGIN - GAP;
  const data = new Uint8Array(width * height * 3);
  const set = (x: number, y: number, c: Colour): void => {
    if (x >= 0 && y >= 0 && x < width && y < height) data.set(c, (y * width + x) * 3);
  };
  const rect = (x: number, y: number, w: number, h: number, c: Colour): void => {
    for (let j = 0; j < h; j++) for (let i = 0; i < w; i++) set(x + i, y + j, c);
  };
  const text = (t: string, x: number, y: number, scale: number, c: Colour): void =>
    drawText(t, (dx, dy) => rect(x + dx * scale, y + dy * scale, scale, scale, c));

  rect(0, 0, width, height, PAPER);
  text(input.title, MARGIN, MARGIN, 3, INK);
  text(input.subtitle, MARGIN, MARGIN + HEIGHT * 3 + 14, TEXT, FAINT);
  const groupX = (g: number): number => MARGIN + labelWidth + g * (groupWidth + GROUP_GAP);
  const columnX = (g: number, c: number): number => groupX(g) + c * (size + GAP);
  const groupY = MARGIN + HEADLINE;
  for (const [g, label] of input.groupLabels.entries()) {
    text(label, groupX(g), groupY, TEXT, INK);
    rect(groupX(g), groupY + HEIGHT * TEXT + 4, groupWidth, 1, FRAME);
    for (const [c, column] of input.columns.entries())
      text(column, columnX(g, c), groupY + HEIGHT * TEXT + 10, TEXT, c === 0 ? FAINT : ACCENT);
  }
  for (const [r, row] of input.rows.entries()) {
    const y = header + r * (size + GAP * 2);
    text(row.label, MARGIN, y + Math.floor((size - HEIGHT * TEXT) / 2), TEXT, INK);
    for (const [g, group] of row.groups.entries())
      for (const [c, picture] of group.entries()) {
        const x = columnX(g, c);
        rect(x - 1, y - 1, size + 2, size + 2, FRAME);
        for (let j = 0; j < size; j++)
          for (let i = 0; i < size; i++)
            set(x + i, y + j, pixel(picture, Math.floor(i / SCALE), Math.floor(j / SCALE)));
      }
  }
  return encode({ width, height, data, channels: 3, depth: 8 });
}

function pixel({ size, planes }: Picture, x: number, y: number): Colour {
  const at = y * size + x;
  const channel = (k: number): number => {
    const v = planes[k * size * size + at]!;
    return Math.round(255 * Math.min(1, Math.max(0, (v + 1) / 2)));
  };
  return [channel(0), channel(1), channel(2)];
}
