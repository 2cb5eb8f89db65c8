export { externalKeys } from "./external-keys.ts";
export { fileReader } from "./file-reader.ts";
export type { ExternalOptions } from "./layout.ts";
export { decodeModel, readModel } from "./read.ts";
export {
  encodeModel,
  type WriteOptions,
  type WriteProgress,
  type WrittenModel,
  writeModel,
} from "./write.ts";
export { type SetMember, writeModelSet } from "./write-set.ts";
