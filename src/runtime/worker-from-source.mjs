// Worker entry while the project runs from its TypeScript sources: installs the loader in the new thread first.
// Builds do not contain this file; they start worker.js.
import { register } from "tsx/esm/api";

register();
export const { work } = await import("./worker.ts");
