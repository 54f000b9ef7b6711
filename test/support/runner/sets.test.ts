import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import {
  aloneFiles,
  exhaustiveFiles,
  expectedSeconds,
  isAlone,
  isWaiting,
  knownSeconds,
  setOf,
  waitingFiles,
} from "./sets.ts";

const root = resolve(import.meta.dir, "../../..");

test("every file that is named is there", () => {
  const named = [...exhaustiveFiles, ...aloneFiles, ...waitingFiles, ...Object.keys(knownSeconds)];
  expect(named.filter((file) => !existsSync(resolve(root, file)))).toEqual([]);
});

test("a file has one set, and the usual duration if its own is not known", () => {
  expect(setOf("test/live/moves/convergence.test.ts")).toBe("live");
  expect(setOf(exhaustiveFiles[0]!)).toBe("exhaustive");
  expect(setOf("test/architecture.test.ts")).toBe("quick");
  expect(isAlone(aloneFiles[0]!)).toBe(true);
  expect(isAlone("test/architecture.test.ts")).toBe(false);
  expect(isWaiting(waitingFiles[0]!)).toBe(true);
  expect(isWaiting("test/architecture.test.ts")).toBe(false);
  expect(expectedSeconds("test/nowhere.test.ts")).toBe(1);
});
