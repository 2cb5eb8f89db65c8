import { InferenceSession, Tensor } from "onnxruntime-node";
import { createRng } from "../../src/numeric/rng.ts";

/** Free dims by name; batch-like ones that are missing get 2, the rest must be listed. */
export type Dims = Readonly<Record<string, number>>;

/** A tensor input of a session. */
interface InputInfo {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

function inputsOf(session: InferenceSession): InputInfo[] {
  return session.inputMetadata.map((m) => {
    if (!m.isTensor) throw new Error(`${m.name} is not a tensor input`);
    return { name: m.name, type: m.type, shape: m.shape };
  });
}

/** Seeded feeds for a denoiser: normal floats, timesteps from 0 to 999 for integers (labels and ids are small). */
export function seededFeeds(session: InferenceSession, dims: Dims): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const input of inputsOf(session)) {
    const shape = input.shape.map((d) => (typeof d === "number" ? d : (dims[d] ?? 2)));
    const count = shape.reduce((n, d) => n * d, 1);
    const rng = createRng(1, "feeds", input.name);
    if (input.type === "int64") {
      const top = /time|^t$/.test(input.name) ? 1000 : 4;
      const value = BigInt(rng.int(top));
      feeds[input.name] = new Tensor("int64", new BigInt64Array(count).fill(value), shape);
    } else if (input.type === "float32") {
      const scalar = /^t(imestep)?$/.test(input.name);
      const data = Float32Array.from({ length: count }, () => (scalar ? 500 : rng.normal()));
      feeds[input.name] = new Tensor("float32", data, shape);
    } else throw new Error(`input ${input.name} is ${input.type}`);
  }
  return feeds;
}

/** Session with onnxruntime's defaults apart from the thread count, the setting the speed baseline is defined for. */
export function defaultSession(path: string, threads: number): Promise<InferenceSession> {
  return InferenceSession.create(path, { intraOpNumThreads: threads, interOpNumThreads: 1 });
}
