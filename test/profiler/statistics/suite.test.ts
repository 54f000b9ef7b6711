/** The weak suites exist in `migrate profile` alone: nothing that moves a VM reaches the code that has them. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dir, "../../..");

/** All files of src/ that a file takes in when it is loaded, itself included. */
function closureOf(path: string, seen = new Set<string>()): Set<string> {
  if (seen.has(path)) return seen;
  seen.add(path);
  const code = readFileSync(join(root, path), "utf8");
  for (const [, specifier = ""] of code.matchAll(
    /^\s*(?:import|export)\s(?:[^"';]*?\sfrom\s+)?"(\.[^"]+\.ts)"/gm,
  ))
    closureOf(relative(root, join(root, dirname(path), specifier)), seen);
  return seen;
}

const weak = /\b(?:rc4|des-ede3|aes-128-cbc|profiler)\b/;

test.each([
  "src/commands/send.ts",
  "src/migration/source/send.ts",
  "src/migration/destination/serve.ts",
  "src/lane.worker.ts",
  "src/door.worker.ts",
])("%s knows none of them", (entry) => {
  const closure = [...closureOf(entry)];
  expect(closure.length).toBeGreaterThan(5);
  expect(closure.filter((path) => path.startsWith("src/profiler/"))).toEqual([]);
  const naming = closure.filter((path) =>
    weak.test(readFileSync(join(root, path), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "")),
  );
  expect(naming).toEqual([]);
});

test("the closure is a real one: that of the profile has them", () => {
  const closure = [...closureOf("src/commands/profile-side.ts")];
  expect(closure).toContain("src/profiler/engine/records/record-protection.ts");
  expect(closure).toContain("src/migration/source/send.ts");
});
