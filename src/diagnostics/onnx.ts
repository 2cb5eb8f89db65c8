/** Codes of this area; see `define.ts` for the order of a message. */
export const onnxCodes = {};
