import { it } from "vitest";
import { quantizeStatic } from "../../../src/passes/quantize/static/quantize-static.ts";
import { optimizedOps } from "../../../src/runtime/optimized.ts";
import { target } from "../../../src/targets/index.ts";
import { ops, runtime } from "../harness.ts";
import { CALLS, denoiser } from "./denoiser.ts";
import { outputsOn, quantize, sqnr } from "./quantized.ts";

it("x", async () => {
  const feeds = CALLS.map((c) => c.feeds);
  const exact = await outputsOn(denoiser(), feeds);
  for (const [t, time, bits] of [
    [null, "constant", 8],
    [null, "gathered", 8],
    [null, "normalised", 8],
    [null, "constant", 16],
    [null, "gathered", 16],
    [null, "normalised", 16],
    ["qnn-htp", null, null],
    ["qnn-htp", null, 8],
    ["cpu-x64", null, null],
    ["cpu-x64", "constant", null],
  ] as const) {
    const m = denoiser();
    const d = await quantize(m, quantizeStatic, {
      options: { time, bits, minElements: 64, faster: false },
      target: t === null ? null : target(t),
      calls: CALLS,
    });
    const a = await outputsOn(m, feeds);
    const b = await outputsOn(m, feeds, { optimize: "all" });
    console.log(
      t,
      time,
      bits,
      sqnr(exact, a).toFixed(1),
      sqnr(a, b).toFixed(1),
      exact.map((e, i) => sqnr([e], [a[i]!]).toFixed(1)).join(" "),
      "\n",
      d.map((x) => `${x.kind} ${x.rule} ${x.node} ${x.why ?? ""}`).join("\n "),
      "\n",
      [...(await optimizedOps(await runtime(), m, { optimize: "all" }))]
        .map(([k, v]) => `${k}:${v}`)
        .join(" "),
    );
  }
}, 60000);
