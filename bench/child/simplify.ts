import { readFileSync, writeFileSync } from "node:fs";
import { simplify } from "onnxsim";

/** Child process: `simplify.ts {"input": FILE, "output": FILE}` runs onnxsim as its README shows. */
const { input, output } = JSON.parse(process.argv[2] ?? "{}") as { input: string; output: string };
const { model } = await simplify(readFileSync(input));
writeFileSync(output, model);
console.log(JSON.stringify({ bytes: model.length }));
