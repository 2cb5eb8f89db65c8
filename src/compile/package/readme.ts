import type { DType } from "../../ir/dtype.ts";
import type { BuildComponent, BuildFile, BuildPort } from "./build-file.ts";

/** Array classes of onnxruntime-node, and the names of their tensor types. */
const NODE_TYPES: Partial<Record<DType, readonly [string, string]>> = {
  f32: ["float32", "Float32Array"],
  f64: ["float64", "Float64Array"],
  f16: ["float16", "Uint16Array"],
  i64: ["int64", "BigInt64Array"],
  i32: ["int32", "Int32Array"],
  i8: ["int8", "Int8Array"],
  u8: ["uint8", "Uint8Array"],
  bool: ["bool", "Uint8Array"],
};

/** An input of zeros, of the lengths the self-test has; open ones are 1 without it. */
function zeros({ name, dtype, shape }: BuildPort, { selfTest }: BuildComponent): string {
  const [type, array] = NODE_TYPES[dtype] ?? ["float32", "Float32Array"];
  const tested = selfTest?.inputs.find((i) => i.name === name);
  const dims = tested?.dims ?? shape.map((d) => (typeof d === "number" ? d : 1));
  const length = dims.reduce((n, d) => n * d, 1);
  return `${JSON.stringify(name)}: new Tensor("${type}", new ${array}(${length}), ${JSON.stringify(dims)})`;
}

const sizes = (p: BuildPort): string => `\`${p.name}\` ${p.dtype}[${p.shape.join(", ")}]`;

function describe(c: BuildComponent): string {
  const weights = c.weights.slice(0, 3).map((w) => `${w.tensors} in ${w.dtype} (${w.bytes} bytes)`);
  return [
    `- \`${c.model}\` (${c.kind}): takes ${c.inputs.map(sizes).join(", ")}; gives ${c.outputs.map(sizes).join(", ")}.`,
    `  Constants: ${weights.join(", ")}${c.weights.length > 3 ? ", …" : ""}.`,
  ].join("\n");
}

function python(c: BuildComponent, { provider }: BuildFile): string {
  const options = Object.keys(provider.options).length === 0 ? "" : `, ${JSON.stringify(provider.options)}`;
  const chosen = options === "" ? `"${provider.python}"` : `("${provider.python}"${options})`;
  const load = [
    "import numpy as np, onnxruntime as ort",
    `session = ort.InferenceSession("${modelOf(c)}", providers=[${chosen}])`,
  ];
  if (c.selfTest === null)
    return [...load, "print([(i.name, i.type, i.shape) for i in session.get_inputs()])"].join("\n");
  return [
    ...load,
    `test = np.load("${c.selfTest.file}")`,
    `found = session.run(None, {i.name: test["in." + i.name] for i in session.get_inputs()})`,
    `for o, f in zip(session.get_outputs(), found): print(o.name, 10 * np.log10((test["out." + o.name] ** 2).sum() / ((f - test["out." + o.name]) ** 2).sum()), "dB, at least ${c.selfTest.minSqnrDb}")`,
  ].join("\n");
}

/** The model to load: of a graph set its first graph. */
function modelOf(c: BuildComponent): string {
  return c.model.endsWith(".onnx") ? c.model : c.files.find((f) => f.path.endsWith(".onnx"))!.path;
}

function node(c: BuildComponent, { provider }: BuildFile): string {
  const one = { name: provider.name, ...provider.options };
  const chosen = Object.keys(provider.options).length === 0 ? `"${provider.name}"` : JSON.stringify(one);
  return [
    'import { InferenceSession, Tensor } from "onnxruntime-node";',
    `const session = await InferenceSession.create("${modelOf(c)}", { executionProviders: [${chosen}], graphOptimizationLevel: "all" });`,
    `const feeds = { ${c.inputs.map((i) => zeros(i, c)).join(", ")} };`,
    "const found = await session.run(feeds);",
    "for (const name of session.outputNames) console.log(name, found[name].dims);",
  ].join("\n");
}

/** `README.md` of a target folder: what lies there, five lines that load it, and how to test it on the device. */
export function readmeOf(build: BuildFile): string {
  const main = build.components.find((c) => c.kind === "denoiser") ?? build.components[0]!;
  const sets = build.components.filter((c) => !c.model.endsWith(".onnx"));
  const graphs = sets.map(
    (c) =>
      `\`${c.model}\` says which of several graphs answers at which timesteps; they share their weights. The lines below load the first.\n\n`,
  );
  return `# ${build.target.title}

Built by diffpress ${build.diffpress} for \`${build.target.id}\` and checked with onnxruntime ${build.onnxruntime}. \`build.json\` says the
same for programs.

${build.components.map(describe).join("\n")}

${graphs.join("")}Node:

\`\`\`js
${node(main, build)}
\`\`\`

Python:

\`\`\`python
${python(main, build)}
\`\`\`

Whether this build works on this device, its files compared too: \`npx diffpress self-test .\`
`;
}
