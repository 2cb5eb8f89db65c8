import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createHash as inPage } from "../../scripts/browser/sha256.ts";

it("hashes as node:crypto does, whatever the length", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200, unit: "binary" }), (text) => {
      const ours = inPage("sha256").update(text).digest();
      const node = createHash("sha256").update(text).digest();
      for (const at of [0, 4, 8, 12, 28]) expect(ours.readInt32LE(at)).toBe(node.readInt32LE(at));
    }),
  );
});
