import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { portArray } from "../../src/calibrate/arrays.ts";
import {
  conditionsFromNpz,
  denseFrom,
  inputRoles,
  numbersOf,
  openPipeline,
  openTokenizer,
  type Pipeline,
  resolveConditions,
  syntheticConditions,
} from "../../src/calibrate/index.ts";
import { createRuntime, type PortType, type Runtime } from "../../src/runtime/index.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const port = (name: string, dtype: PortType["dtype"], shape: PortType["shape"]): PortType => ({
  name,
  dtype,
  shape,
});
const out = [port("out_sample", "f32", ["b", 3, 16, 16])];
const base = [port("sample", "f32", ["b", 3, 16, 16]), port("timestep", "i64", ["b"])];
const unet = inputRoles([...base, port("encoder_hidden_states", "f32", ["b", "s", 64])], out);
const xl = inputRoles(
  [
    ...base,
    port("text_embeds", "f32", ["b", 4]),
    port("time_ids", "f32", ["b", 6]),
    port("ids", "f32", ["n", 2]),
  ],
  out,
);

let runtime: Runtime;
let folder: string;
let pipeline: Pipeline;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  folder = mkdtempSync(join(tmpdir(), "diffpress-test-"));
  pipeline = await openPipeline(FIXTURE);
});
afterAll(async () => {
  await runtime.close();
  rmSync(folder, { recursive: true, force: true });
});

const described = (conditions: unknown[], dir = FIXTURE): Pipeline => ({
  ...pipeline,
  dir,
  sampling: {
    ...pipeline.sampling,
    unconditional: null,
    conditions: conditions.map((c) => ({ name: "c", inputs: {}, components: {}, ...(c as object) })),
  },
});
const through = (part: object) => ({
  components: { text_encoder: { inputs: {}, prompt: null, outputs: {}, ...part } },
});

describe("arrays of a description", () => {
  it("get the batch axis and dtype of the port", () => {
    const labels = port("class_labels", "i64", ["b"]);
    expect(portArray("c", labels, 3)).toMatchObject({ dtype: "i64", dims: [1] });
    expect(numbersOf(portArray("c", port("ids", "f32", ["b", 6]), [1, 2, 3, 4, 5, 6]))).toEqual([
      1, 2, 3, 4, 5, 6,
    ]);
    expect(
      portArray("c", port("e", "f16", ["b", "s", 2]), [
        [1, 2],
        [3, 4],
        [5, 6],
      ]).dims,
    ).toEqual([1, 3, 2]);
  });

  it.each([
    ["ragged lists", [[1, 2], [3]]],
    ["the wrong width", [1, 2, 3]],
    ["too many axes", [[[[1]]]]],
    ["text inside", [["a", "b", "c", "d", "e", "f"]] as unknown as number[][]],
  ])("are refused with %s", (_, value) => {
    expect(() => portArray("c", port("ids", "f32", ["b", 6]), value)).toThrow(
      expect.objectContaining({ code: "CONDITION_VALUE_INVALID" }),
    );
  });
});

describe("conditions from an npz", () => {
  const arrays = new Map([
    ["text_embeds", denseFrom("f32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8])],
    ["time_ids", denseFrom("i64", [6], [1, 2, 3, 4, 5, 6])],
    ["ids", denseFrom("f32", [3, 2], [0, 0, 0, 1, 1, 0])],
    ["unconditional.text_embeds", denseFrom("f32", [1, 4], [0, 0, 0, 0])],
  ]);
  it("count along the first axis and share what has one row", () => {
    const set = conditionsFromNpz(arrays, xl);
    expect(set.conditions).toHaveLength(2);
    expect(numbersOf(set.conditions[1]!.inputs.get("text_embeds")!)).toEqual([5, 6, 7, 8]);
    expect(set.conditions[1]!.inputs.get("time_ids")).toMatchObject({ dtype: "f32", dims: [1, 6] });
    expect(set.conditions[1]!.inputs.get("ids")!.dims).toEqual([3, 2]);
    expect(numbersOf(set.unconditional!.inputs.get("text_embeds")!)).toEqual([0, 0, 0, 0]);
    expect(set.unconditional!.inputs.get("time_ids")!.dims).toEqual([1, 6]);
  });
  it("must be complete and fit", () => {
    expect(() => conditionsFromNpz(new Map(), xl)).toThrow(
      expect.objectContaining({ code: "CONDITION_INPUT_MISSING" }),
    );
    const wrong = new Map([
      ...arrays,
      ["text_embeds", denseFrom("f32", [1, 5], new Float32Array(5))] as const,
    ]);
    expect(() => conditionsFromNpz(wrong, xl)).toThrow(
      expect.objectContaining({ code: "CONDITION_VALUE_INVALID" }),
    );
  });
});

describe("conditions of a pipeline", () => {
  it("run through its text encoder", async () => {
    const set = await resolveConditions(pipeline, runtime, unet);
    expect(set.source).toBe("description");
    expect(set.conditions[2]!.inputs.get("encoder_hidden_states")!.dims).toEqual([1, 8, 64]);
  });

  it("take denoiser inputs as they are", async () => {
    const roles = inputRoles([...base, port("class_labels", "i64", ["b"])], out);
    const set = await resolveConditions(described([{ inputs: { class_labels: 2 } }]), runtime, roles);
    expect(numbersOf(set.conditions[0]!.inputs.get("class_labels")!)).toEqual([2]);
  });

  it("are nothing for an unconditional denoiser", async () => {
    const set = await resolveConditions(described([]), runtime, inputRoles(base, out));
    expect(set.conditions.map((c) => c.inputs.size)).toEqual([0]);
  });

  it("are synthetic only when asked", async () => {
    await expect(resolveConditions(described([]), runtime, unet)).rejects.toMatchObject({
      code: "CONDITION_INPUT_MISSING",
    });
    const set = await resolveConditions(described([]), runtime, unet, { synthetic: { seed: 1, count: 2 } });
    expect(set.source).toBe("synthetic");
    expect(set.conditions[0]!.inputs.get("encoder_hidden_states")!.dims).toEqual([1, 77, 64]);
    const again = syntheticConditions(unet, { seed: 1, count: 2, bindings: { s: 5 } });
    expect(again.conditions[1]!.inputs.get("encoder_hidden_states")!.dims).toEqual([1, 5, 64]);
  });

  it.each([
    [
      "CONDITION_COMPONENT_MISSING",
      { components: { text_encoder_2: { inputs: {}, prompt: null, outputs: {} } } },
    ],
    ["CONDITION_INPUT_MISSING", through({})],
    ["CONDITION_NOT_CONNECTED", { inputs: { nothing: 1 } }],
    [
      "CONDITION_NOT_CONNECTED",
      through({ inputs: { input_ids: [0, 1] }, outputs: { last_hidden_state: "nowhere" } }),
    ],
    ["CONDITION_VALUE_INVALID", through({ inputs: { input_ids: [[[1]]] } })],
    ["TOKENIZER_MISSING", through({ prompt: "a ship" })],
  ])("fail with %s", async (code, condition) => {
    await expect(resolveConditions(described([condition]), runtime, unet)).rejects.toMatchObject({ code });
  });

  it("come from text when there is a tokenizer", async () => {
    mkdirSync(join(folder, "tokenizer"));
    const vocab: Record<string, number> = {
      "<|startoftext|>": 0,
      "<|endoftext|>": 1,
      "a</w>": 2,
      s: 3,
      h: 4,
      i: 5,
      "p</w>": 6,
      sh: 7,
      "ip</w>": 8,
      "ship</w>": 9,
      p: 10,
      a: 11,
    };
    writeFileSync(join(folder, "tokenizer/vocab.json"), JSON.stringify(vocab));
    writeFileSync(join(folder, "tokenizer/merges.txt"), "#version: 0.2\ns h\ni p</w>\nsh ip</w>\n");
    writeFileSync(join(folder, "tokenizer/tokenizer_config.json"), JSON.stringify({ model_max_length: 8 }));
    const tokenizer = (await openTokenizer(join(folder, "tokenizer")))!;
    expect(tokenizer.maxLength).toBe(8);
    expect(tokenizer.encode("A  Ship", 8)).toEqual({
      ids: [0, 2, 9, 1, 1, 1, 1, 1],
      mask: [1, 1, 1, 1, 0, 0, 0, 0],
    });
    expect(tokenizer.encode("ship ship ship ship", 4).ids).toEqual([0, 9, 9, 1]);
    const text = await resolveConditions(described([through({ prompt: "a ship" })], folder), runtime, unet);
    const ids = await resolveConditions(
      described([through({ inputs: { input_ids: [0, 2, 9, 1, 1, 1, 1, 1] } })]),
      runtime,
      unet,
    );
    const of = (s: typeof text) => numbersOf(s.conditions[0]!.inputs.get("encoder_hidden_states")!);
    expect(of(text)).toEqual(of(ids));
  });

  it("report broken tokenizers", async () => {
    const dir = join(folder, "broken");
    mkdirSync(dir);
    expect(await openTokenizer(dir)).toBeNull();
    writeFileSync(join(dir, "vocab.json"), '{"a": 0}');
    await expect(openTokenizer(dir)).rejects.toMatchObject({ code: "TOKENIZER_INVALID" });
    writeFileSync(join(dir, "vocab.json"), '{"<|startoftext|>": 0, "<|endoftext|>": 1}');
    await expect(openTokenizer(dir)).rejects.toMatchObject({ code: "PIPELINE_FILE_MISSING" });
    writeFileSync(join(dir, "tokenizer.json"), '{"model": {"type": "Nope"}}');
    await expect(openTokenizer(dir)).rejects.toMatchObject({ code: "TOKENIZER_INVALID" });
  });
});
