import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** Something the page may ask for: bytes, or a folder of files. */
export type Served = { readonly bytes: Uint8Array | string } | { readonly folder: string };

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript",
  mjs: "text/javascript",
  wasm: "application/wasm",
};

/** Serves paths on the loopback address until closed. Keys that end in a slash are folders of plain files. */
export async function serve(
  paths: Readonly<Record<string, Served>>,
): Promise<{ readonly origin: string; close(): void }> {
  const answer = (path: string): Uint8Array | string | null => {
    const exact = paths[path];
    if (exact !== undefined && "bytes" in exact) return exact.bytes;
    const slash = path.lastIndexOf("/") + 1;
    const folder = paths[path.slice(0, slash)];
    const name = path.slice(slash);
    if (folder === undefined || !("folder" in folder) || !/^[\w.-]+$/.test(name)) return null;
    return readFileSync(`${folder.folder}/${name}`);
  };
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    let body: ReturnType<typeof answer> = null;
    try {
      body = answer(path);
    } catch {
      // A file that is not there: 404 below.
    }
    const type =
      TYPES[path.split(".").at(-1) ?? ""] ?? (path === "/" ? TYPES["html"]! : "application/octet-stream");
    response.writeHead(body === null ? 404 : 200, { "Content-Type": type });
    response.end(body ?? "");
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return { origin: `http://127.0.0.1:${port}`, close: () => server.close() };
}
