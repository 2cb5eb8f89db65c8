import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { systemSources, withBackports } from "../../scripts/software/sources.ts";

let etc: string;
beforeAll(() => {
  etc = mkdtempSync(join(tmpdir(), "diffpress-sources-"));
  mkdirSync(join(etc, "sources.list.d"));
  writeFileSync(
    join(etc, "sources.list"),
    "# a comment\ndeb [arch=amd64 signed-by=/keys/a.gpg] https://a.example/debian stable main contrib # more\n" +
      "deb-src https://a.example/debian stable main\n",
  );
  writeFileSync(
    join(etc, "sources.list.d", "b.sources"),
    "# first\nTypes: deb deb-src\nURIs: https://b.example/debian\nSuites: stable stable-updates\n" +
      "Components: main\nSigned-By: /keys/b.gpg\n\nTypes: deb\nEnabled: no\nURIs: https://off.example\n" +
      "Suites: stable\nComponents: main\n\nTypes: deb\nURIs: https://c.example\nSuites: other\nComponents: x\n",
  );
  writeFileSync(join(etc, "sources.list.d", "notes.txt"), "deb https://no.example stable main\n");
});
afterAll(() => rmSync(etc, { recursive: true, force: true }));

it("reads both formats of package sources and leaves out what is switched off or source code", () => {
  const found = systemSources(etc).map((s) => [s.uris.join(), s.suites.join(" "), s.components.join(" ")]);
  expect(found).toEqual([
    ["https://a.example/debian", "stable", "main contrib"],
    ["https://b.example/debian", "stable stable-updates", "main"],
    ["https://c.example", "other", "x"],
  ]);
});

it("adds backports to the release's own archives, with their keys, and to no others", () => {
  expect(withBackports(systemSources(etc), "stable")).toBe(
    "Types: deb\nURIs: https://a.example/debian\nSuites: stable stable-backports\nComponents: main contrib\n" +
      "Signed-By: /keys/a.gpg\n\nTypes: deb\nURIs: https://b.example/debian\n" +
      "Suites: stable stable-updates stable-backports\nComponents: main\nSigned-By: /keys/b.gpg\n",
  );
  expect(withBackports(systemSources(etc), "absent")).toBeNull();
});
