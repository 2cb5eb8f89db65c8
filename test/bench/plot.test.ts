import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { drawPlot, type Plot } from "../../bench/lib/plot.ts";
import { draw, type Recorded, section } from "../../bench/lib/results.ts";

const plot: Plot = {
  name: "ratio",
  title: "Error over size",
  x: "share of FLOPs kept",
  y: "SQNR, dB",
  series: [
    {
      name: "weighted <SVD>",
      points: [
        [0.9, 31],
        [0.5, 14],
      ],
    },
    { name: "plain SVD", points: [[0.9, 25]] },
  ],
};

const result: Recorded = {
  name: "shapes",
  title: "shapes",
  date: "2026-01-02T03:04:05.000Z",
  machine: { cpu: "cpu", cores: 1, isa: [], memoryGiB: 1, node: "v20", onnxruntime: "1" },
  load: { before: { load1: 0, freeGiB: 1 }, after: { load1: 0, freeGiB: 1 } },
  seconds: 1,
  columns: ["a"],
  rows: [[1]],
  checks: [],
  commands: [],
  plots: [plot],
};

describe("plots of bench results", () => {
  it("draw a line with points per series, a legend and axis titles, the same text each time", async () => {
    const svg = await drawPlot(plot);
    expect(svg.startsWith("<svg")).toBe(true);
    expect(svg).toContain("weighted &lt;SVD&gt;");
    for (const text of ["plain SVD", "Error over size", "share of FLOPs kept", "SQNR, dB"])
      expect(svg).toContain(text);
    expect(svg.match(/aria-roledescription="point"/g)).toHaveLength(3);
    expect(svg.match(/aria-roledescription="line mark"/g)).toHaveLength(2);
    const width = Number(/viewBox="0 0 (\d+)/.exec(svg)![1]);
    expect(width).toBeLessThan(850);
    expect(await drawPlot(plot)).toBe(svg);
  });

  it("move with their points", async () => {
    const other = { ...plot, series: [{ ...plot.series[0]!, points: [[0.9, 31.5] as [number, number]] }] };
    expect(await drawPlot(other)).not.toBe(await drawPlot(plot));
  });

  it("are written beside the page, which links them", async () => {
    const folder = mkdtempSync(join(tmpdir(), "diffpress-plots-"));
    try {
      await draw(result, folder);
      expect(readdirSync(join(folder, "plots"))).toEqual(["shapes-ratio.svg"]);
      expect(readFileSync(join(folder, "plots/shapes-ratio.svg"), "utf8")).toBe(await drawPlot(plot));
      expect(section(result)).toContain("![Error over size](plots/shapes-ratio.svg)");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
