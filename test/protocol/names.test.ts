import { describe, expect, test } from "bun:test";
import { checkFileName, checkVmName } from "../../src/protocol/names.ts";

const good = [
  "web1",
  "a",
  "Web 1",
  "web1.qcow2",
  "žlutý kůň",
  "虚拟机",
  "👩‍💻",
  "a..b",
  "a-",
  "CON",
  "100%",
  "vm.json.old",
  "a\\b",
];

/** Each with a word that its sentence must have. */
const bad: [name: string, word: string][] = [
  ["", "empty"],
  [".", '".."'],
  ["..", '".."'],
  [".hidden", 'start with "."'],
  ["-rf", 'start with "-"'],
  ["a/b", '"/"'],
  ["/etc/passwd", '"/"'],
  ["../a", '"/"'],
  ["a\0b", "control"],
  ["a\nb", "control"],
  ["a\u007fb", "control"],
  ["a\u0085b", "control"],
  ["\u001b[2J", "control"],
  ["a\u202egnp.exe", "invisible"],
  ["a\u2066b", "invisible"],
  ["a\u2028b", "invisible"],
  [" a", "white space"],
  ["a ", "white space"],
  ["a\u00a0", "white space"],
  ["\ufeffa", "white space"],
  ["a\ud800", "well-formed"],
  ["\udc00a", "well-formed"],
  ["e\u0301", "normal form"],
  ["x".repeat(10_000), "at most"],
];

for (const [what, check, most] of [
  ["a VM", checkVmName, 128],
  ["a file", checkFileName, 255],
] as const) {
  describe(`the name of ${what}`, () => {
    for (const name of good) test(`may be ${JSON.stringify(name)}`, () => expect(check(name)).toBeNull());

    for (const [name, word] of bad) {
      test(`must not be ${JSON.stringify(name).slice(0, 40)}`, () => {
        expect(check(name)).toContain(word);
        // Sentences go to logs and peers: what the name held is not in them.
        expect(check(name)).not.toMatch(/[\p{Cc}\u2028-\u202e\ud800-\udfff]/u);
      });
    }

    test(`is measured in bytes of UTF-8, at most ${most}`, () => {
      expect(check("x".repeat(most))).toBeNull();
      expect(check("x".repeat(most + 1))).toContain("at most");
      expect(check("é".repeat(most >> 1))).toBeNull();
      expect(check("é".repeat((most >> 1) + 1))).toContain("at most");
    });
  });
}

test("vm.json is the name of no file of a VM, and a fine one for a VM", () => {
  expect(checkFileName("vm.json")).toContain('"vm.json"');
  expect(checkVmName("vm.json")).toBeNull();
});

test("a VM's name must not look like what a move leaves behind; a file's may", () => {
  expect(checkVmName("web1.migrated")).toContain('".migrated"');
  expect(checkVmName("web1.migrated2")).toBeNull();
  expect(checkFileName("disk.migrated")).toBeNull();
});
