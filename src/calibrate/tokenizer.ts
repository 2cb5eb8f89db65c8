import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { fail } from "../diagnostics/index.ts";
import type { Json } from "../ir/tensor.ts";
import { asObject, fileExists, readJson, readText } from "./json.ts";

/** Text to ids of one fixed length, with the mask of the ids that came from the text. */
export interface TextEncoding {
  readonly ids: readonly number[];
  readonly mask: readonly number[];
}

/** A loaded tokenizer of a pipeline. */
export interface TextTokenizer {
  /** Length prompts are padded or cut to, unless the model fixes another. */
  readonly maxLength: number;
  encode(text: string, length: number): TextEncoding;
}

/** Length of CLIP prompts; stands in when a configuration gives none or "no limit". */
const CLIP_LENGTH = 77;
/** Configurations spell "no limit" as a number near 1e30. */
const MAX_LENGTH = 8192;

/** Words, digits and punctuation as CLIP splits text (Radford et al. 2021, the published byte-pair encoder). */
const CLIP_SPLIT = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

type Vocabulary = Readonly<Record<string, number>>;

/** The tokenizer definition that a CLIP `vocab.json` and `merges.txt` stand for. */
function clipDefinition(vocab: Vocabulary, merges: readonly string[], start: string, end: string): object {
  const special = [start, end].map((content) => ({
    id: vocab[content],
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: true,
  }));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special,
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: CLIP_SPLIT }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: "RobertaProcessing",
      sep: [end, vocab[end]],
      cls: [start, vocab[start]],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: end,
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      fuse_unk: false,
      vocab,
      merges,
    },
  };
}

/** Content of a special token in a configuration: text, or an object around it. */
function tokenText(value: Json | undefined): string | null {
  if (typeof value === "string") return value;
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    const content = (value as Readonly<Record<string, Json>>)["content"];
    return typeof content === "string" ? content : null;
  }
  return null;
}

async function optionalObject(file: string): Promise<Readonly<Record<string, Json>>> {
  return (await fileExists(file)) ? asObject(await readJson(file, "the tokenizer"), file) : {};
}

async function clipFiles(dir: string, start: string, end: string): Promise<object> {
  const vocabFile = join(dir, "vocab.json");
  const vocab = asObject(await readJson(vocabFile, "the tokenizer"), vocabFile);
  for (const [token, id] of Object.entries(vocab)) {
    if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0) {
      fail("TOKENIZER_INVALID", {
        file: vocabFile,
        problem: `the id of ${JSON.stringify(token)} is no index`,
      });
    }
  }
  for (const token of [start, end]) {
    if (!(token in vocab))
      fail("TOKENIZER_INVALID", { file: vocabFile, problem: `it has no token ${token}` });
  }
  const mergesText = await readText(join(dir, "merges.txt"), "the tokenizer");
  const merges = mergesText.split("\n").map((l) => l.trimEnd());
  return clipDefinition(
    vocab as Vocabulary,
    merges.filter((l) => l !== "" && !l.startsWith("#version")),
    start,
    end,
  );
}

/**
 * Loads a tokenizer folder: `tokenizer.json`, or CLIP's `vocab.json` and `merges.txt`, with `tokenizer_config.json` and
 * `special_tokens_map.json` when there. `null` when the folder holds neither. Fails with TOKENIZER_INVALID or JSON_INVALID.
 */
export async function openTokenizer(dir: string): Promise<TextTokenizer | null> {
  const definitionFile = join(dir, "tokenizer.json");
  const hasDefinition = await fileExists(definitionFile);
  if (!hasDefinition && !(await fileExists(join(dir, "vocab.json")))) return null;
  const config = {
    ...(await optionalObject(join(dir, "special_tokens_map.json"))),
    ...(await optionalObject(join(dir, "tokenizer_config.json"))),
  };
  const start = tokenText(config["bos_token"]) ?? "<|startoftext|>";
  const end = tokenText(config["eos_token"]) ?? "<|endoftext|>";
  const definition = hasDefinition
    ? asObject(await readJson(definitionFile, "the tokenizer"), definitionFile)
    : await clipFiles(dir, start, end);
  const file = hasDefinition ? definitionFile : dir;
  let tokenizer: Tokenizer;
  try {
    tokenizer = new Tokenizer(definition, config);
  } catch (e) {
    return fail("TOKENIZER_INVALID", { file, problem: e instanceof Error ? e.message : String(e) }, e);
  }
  const pad = tokenizer.token_to_id(tokenText(config["pad_token"]) ?? end) ?? 0;
  const limit = config["model_max_length"];
  const maxLength =
    typeof limit === "number" && limit >= 2 && limit <= MAX_LENGTH ? Math.floor(limit) : CLIP_LENGTH;
  return {
    maxLength,
    encode(text, length) {
      const all = Array.from(tokenizer.encode(text).ids, Number);
      // A cut prompt still ends with its end token: encoders pool at its position.
      const ids = all.length > length ? [...all.slice(0, length - 1), all[all.length - 1]!] : all;
      const fill = length - ids.length;
      return {
        ids: [...ids, ...new Array<number>(fill).fill(pad)],
        mask: [...ids.map(() => 1), ...new Array<number>(fill).fill(0)],
      };
    },
  };
}
