import cliProgress from "cli-progress";
import type { CompileEvent } from "../../src/index.ts";
import { bytes, paint, seconds } from "./format.ts";

/** Shows events of a build on stderr: a bar with rate and ETA on a terminal, nothing otherwise. */
export interface Progress {
  onEvent(event: CompileEvent): void;
  /** Clears the bar. */
  stop(): void;
}

const WIDTH = 24;

interface Shown {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  readonly unit: "step" | "byte" | "run";
}

function shown(event: CompileEvent): Shown {
  const where = [event.target, "component" in event ? event.component : null]
    .filter((x) => x !== null)
    .join(" ");
  switch (event.kind) {
    case "stage":
      return { label: `${where} ${event.stage}`.trim(), done: event.step, total: event.steps, unit: "step" };
    case "bytes":
      return { label: `${where} writing`, done: event.done, total: event.total, unit: "byte" };
    case "runs":
      return { label: `${where} verifying`, done: event.done, total: event.total, unit: "run" };
  }
}

/** `quiet` or a stderr that is no terminal shows nothing. `now` is in milliseconds. */
export function createProgress(options: { quiet: boolean; now: () => number }): Progress {
  if (options.quiet || !process.stderr.isTTY) return { onEvent() {}, stop() {} };
  let phase = "";
  let began = options.now();
  const bar = new cliProgress.SingleBar({
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    barsize: WIDTH,
    fps: 12,
    etaBuffer: 64,
    format: (_options, params, payload: { label?: string; rate?: string }) => {
      const filled = Math.round(WIDTH * Math.min(1, params.progress));
      const strip = paint("cyan", "━".repeat(filled)) + paint("gray", "━".repeat(WIDTH - filled));
      return `${strip} ${String(Math.round(params.progress * 100)).padStart(3)} %  ${payload.label ?? ""}  ${paint("gray", payload.rate ?? "")}`;
    },
  });
  bar.start(1, 0, {});
  return {
    onEvent(event) {
      const s = shown(event);
      const key = s.unit === "step" ? "step" : s.label;
      if (key !== phase) {
        phase = key;
        began = options.now();
      }
      const elapsed = (options.now() - began) / 1000;
      const rate = elapsed > 0.3 && s.done > 0 ? s.done / elapsed : 0;
      const eta = rate > 0 && s.unit !== "step" ? `  ${seconds((s.total - s.done) / rate)} left` : "";
      const pace =
        s.unit === "step"
          ? `step ${s.done} of ${s.total}`
          : rate === 0
            ? ""
            : s.unit === "byte"
              ? `${bytes(rate)}/s`
              : `${rate.toFixed(1)} runs/s`;
      bar.setTotal(Math.max(1, s.total));
      bar.update(Math.min(s.done, s.total), { label: s.label, rate: `${pace}${eta}` });
    },
    stop: () => bar.stop(),
  };
}
