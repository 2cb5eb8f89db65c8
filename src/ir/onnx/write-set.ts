import { basename, dirname, join } from "node:path";
import type { Model } from "../graph.ts";
import type { Tensor } from "../tensor.ts";
import { type Link, layOut } from "./layout.ts";
import { type WriteOptions, type WrittenModel, writeModel } from "./write.ts";

/** A model of a set and the name of its file. */
export interface SetMember {
  readonly file: string;
  readonly model: Model;
}

/**
 * Writes models that share weights into the folder of `data`: large tensors that the first one has lie in `data` once,
 * and the others refer to them; what only they have stays in their own files. The first result lists the data file.
 * Fails as {@link writeModel} does.
 */
export async function writeModelSet(
  members: readonly SetMember[],
  data: string,
  options: WriteOptions & { readonly external: Exclude<WriteOptions["external"], false | undefined> },
): Promise<readonly WrittenModel[]> {
  const folder = dirname(data);
  const external = { ...options.external, file: basename(data), total: 0 };
  const written: WrittenModel[] = [];
  const [first] = members;
  if (first === undefined) return written;
  written.push(await writeModel(first.model, join(folder, first.file), { ...options, external }));
  const { place } = layOut(first.model, external.file, external);
  const hashes = new Map<number, string>();
  for (const { location, sha256 } of written[0]!.tensors)
    if (location !== "inline") hashes.set(location.offset, sha256);
  const linked = (tensor: Tensor): Link | null => {
    const at = place(tensor);
    return at === null ? null : { ...at, sha256: hashes.get(at.offset)! };
  };
  for (const { file, model } of members.slice(1))
    written.push(
      await writeModel(model, join(folder, file), {
        ...options,
        external: { ...external, linked, linkedOnly: true },
      }),
    );
  return written;
}
