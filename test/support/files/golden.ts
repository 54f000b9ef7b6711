/** Texts that are kept to be compared with, each as a file that can be opened and looked at. */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

const folder = resolve(import.meta.dir, "../../profiler/golden");

/**
 * Expects the text to be what test/profiler/golden/NAME holds. After a change that is meant, run the test
 * with MIGRATE_WRITE_GOLDEN=1 once, and look at the files before they are committed.
 */
export function expectGolden(name: string, text: string): void {
  const path = join(folder, name);
  if (process.env.MIGRATE_WRITE_GOLDEN === "1") {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  const kept = existsSync(path) ? readFileSync(path, "utf8") : "";
  // Without a page of difference: the first one says enough.
  const at = [...text].findIndex((letter, index) => letter !== kept[index]);
  const around = (whole: string) => whole.slice(Math.max(0, at - 60), at + 60);
  if (text !== kept) expect(around(text)).toBe(around(kept));
  expect(text.length).toBe(kept.length);
}
