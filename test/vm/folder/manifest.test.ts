import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "../../../src/vm/folder/manifest.ts";
import { parseManifest, readManifest, serialiseManifest } from "../../../src/vm/folder/manifest.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-manifest-", (made) => {
  folder = made;
});

const least = { format: "migrate-vm/1", name: "web1", files: [{ kind: "disk", file: "a.raw" }] };

const full: Manifest = {
  format: "migrate-vm/1",
  name: "web1",
  id: "01234567-89ab-cdef-0123-456789abcdef",
  files: [
    { kind: "ram", file: "web1.ram", bytes: 5, digest: `sha256:${"a".repeat(64)}` },
    { kind: "disk", file: "a.qcow2", bytes: 0 },
    { kind: "tpm", file: "tpm/tpm2-00.permall", bytes: 7 },
  ],
  digest: {
    algorithm: "aes-128-gmac-tree",
    chunkBytes: 1048576,
    key: "0".repeat(32),
    vm: `sha256:${"b".repeat(64)}`,
  },
  ownership: { state: "owner", session: "s", from: "sha256:x", since: "2030-01-31T12:00:00.000Z" },
};

const refusal = (make: () => unknown) => refusalOf(make, "vm-invalid");

const parse = (value: unknown) => parseManifest(JSON.stringify(value), "/srv/web1/vm.json");

describe("a vm.json", () => {
  test("written by hand needs a format, a name, kinds and files", () => {
    expect(parse(least)).toEqual(least as Manifest);
  });

  test("comes back from its text as it was", () => {
    const text = serialiseManifest(full);
    expect(text.endsWith("}\n")).toBe(true);
    expect(parseManifest(text, "vm.json")).toEqual(full);
    writeFileSync(join(folder, "vm.json"), text);
    expect(readManifest(join(folder, "vm.json"))).toEqual(full);
  });

  test("may have fields that a later version knows", () => {
    expect(parse({ ...least, colour: "red" })).toEqual(least as Manifest);
  });

  test("gives an id in small letters", () => {
    expect(parse({ ...least, id: full.id?.toUpperCase() }).id).toBe(full.id!);
  });
});

describe("a broken vm.json is refused with its field", () => {
  const disk = least.files[0]!;
  const withFile = (file: object) => ({ ...least, files: [disk, { ...disk, ...file }] });
  const cases: [what: string, value: unknown, sentence: string][] = [
    ["no object", 5, "/srv/web1/vm.json must be an object"],
    ["null", null, "/srv/web1/vm.json must be an object"],
    ["no format", { ...least, format: undefined }, "/srv/web1/vm.json: format is missing"],
    [
      "another format",
      { ...least, format: "migrate-vm/2" },
      '/srv/web1/vm.json: format must be "migrate-vm/1"',
    ],
    ["no name", { ...least, name: undefined }, "/srv/web1/vm.json: name is missing"],
    ["a name that is a number", { ...least, name: 7 }, "name must be a text"],
    [
      "a name with a slash",
      { ...least, name: "a/b" },
      `name is no name for a VM: a VM's name must not contain "/"`,
    ],
    ["an id that is none", { ...least, id: "web1" }, "id must be a UUID"],
    ["no files", { ...least, files: undefined }, "files is missing"],
    ["files that are no list", { ...least, files: {} }, "files must be a list of files"],
    ["an empty list", { ...least, files: [] }, "files must name at least one file"],
    ["too many files", { ...least, files: Array(65).fill(disk) }, "files must name at most 64 files"],
    ["a file that is a text", { ...least, files: ["a.raw"] }, "files[0] must be an object"],
    ["a file without a kind", withFile({ kind: undefined }), "files[1].kind is missing"],
    ["an unknown kind", withFile({ kind: "floppy" }), 'files[1].kind must be "ram", "disk" or "tpm"'],
    ["a file without a name", withFile({ file: undefined }), "files[1].file is missing"],
    ["a path upwards", withFile({ file: "../b.raw" }), "files[1].file leaves the VM's folder"],
    ["a path up inside", withFile({ file: "x/../../b.raw" }), "files[1].file leaves the VM's folder"],
    ["an absolute path", withFile({ file: "/b.raw" }), "files[1].file leaves the VM's folder"],
    [
      "a folder inside",
      withFile({ file: "x/b.raw" }),
      `files[1].file is no file of a VM: a file's name must not contain "/"`,
    ],
    ["itself", withFile({ file: "vm.json" }), "files[1].file is no file of a VM"],
    ["a TPM file elsewhere", withFile({ kind: "tpm", file: "b" }), 'files[1].file must start with "tpm/"'],
    [
      "a TPM path upwards",
      withFile({ kind: "tpm", file: "tpm/../b" }),
      "files[1].file leaves the VM's folder",
    ],
    [
      "a TPM folder in a folder",
      withFile({ kind: "tpm", file: "tpm/a/b" }),
      "files[1].file is no file of a VM",
    ],
    ["a negative size", withFile({ bytes: -1 }), "files[1].bytes must be a whole number of bytes"],
    ["half a byte", withFile({ bytes: 1.5 }), "files[1].bytes must be a whole number of bytes"],
    ["a size beyond 2^53", withFile({ bytes: 2 ** 63 }), "files[1].bytes must be a whole number of bytes"],
    ["a size as a text", withFile({ bytes: "5" }), "files[1].bytes must be a whole number of bytes"],
    [
      "a short digest",
      withFile({ digest: "sha256:ab" }),
      'files[1].digest must be "sha256:" and 64 hex digits',
    ],
    ["a short key", { ...full, digest: { ...full.digest, key: "00" } }, "digest.key must be 32 hex digits"],
    [
      "an owner of a third kind",
      { ...full, ownership: { ...full.ownership, state: "both" } },
      "ownership.state must be",
    ],
    [
      "a time that is none",
      { ...full, ownership: { ...full.ownership, since: "now" } },
      "ownership.since must be a time",
    ],
  ];
  for (const [what, value, sentence] of cases) {
    test(what, () => expect(refusal(() => parse(value)).message).toContain(sentence));
  }

  test("text that is no JSON", () => {
    expect(refusal(() => parseManifest("{", "/srv/web1/vm.json")).message).toStartWith(
      "/srv/web1/vm.json is not JSON:",
    );
  });

  test("a file that is not there, is a folder, or is far too large", () => {
    const path = join(folder, "vm.json");
    expect(refusal(() => readManifest(path)).message).toBe(`${path} cannot be read: there is none`);
    mkdirSync(join(folder, "d"));
    expect(refusal(() => readManifest(join(folder, "d"))).message).toContain("is not a regular file");
    writeFileSync(path, " ".repeat(1024 * 1024 + 1));
    expect(refusal(() => readManifest(path)).message).toContain("larger than");
  });
});
