import { parse, resetSVGDefIds, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

/** A chart of lines with points, beside the table of a case. */
export interface Plot {
  /** Kebab-case, unique within its case: the file is `bench/plots/<case>-<name>.svg`. */
  readonly name: string;
  readonly title: string;
  /** Axis titles with their units. */
  readonly x: string;
  readonly y: string;
  /** Drawn in this order, which is that of the legend. Points need not be sorted. */
  readonly series: readonly { readonly name: string; readonly points: readonly [number, number][] }[];
}

/** Colours that stay apart on white and dark pages and for colour-blind readers (Okabe and Ito 2008). */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000"];

/** Size of the plotting area in pixels: with axes and legend it fits the width of a README. */
const SIZE = { width: 520, height: 300 };

function specOf(plot: Plot): TopLevelSpec {
  const names = plot.series.map((s) => s.name);
  const series = { field: "series", type: "nominal", sort: names, title: null } as const;
  return {
    background: "white",
    padding: 8,
    ...SIZE,
    title: { text: plot.title, anchor: "start", fontSize: 13 },
    data: {
      values: plot.series.flatMap((s) => s.points.map(([x, y]) => ({ series: s.name, x, y }))),
    },
    mark: { type: "line", point: true },
    encoding: {
      x: { field: "x", type: "quantitative", title: plot.x, scale: { zero: false, nice: true } },
      y: { field: "y", type: "quantitative", title: plot.y, scale: { zero: false, nice: true } },
      color: { ...series, scale: { domain: names, range: COLOURS } },
      shape: { ...series, scale: { domain: names } },
    },
    config: {
      font: "sans-serif",
      axis: { labelFontSize: 11, titleFontSize: 12 },
      legend: { labelLimit: 260 },
    },
  };
}

/** The chart as an SVG document. Equal plots give equal text. */
export async function drawPlot(plot: Plot): Promise<string> {
  const { spec } = compile(specOf(plot));
  resetSVGDefIds();
  const view = new View(parse(spec), { renderer: "none" });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
