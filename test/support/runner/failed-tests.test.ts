import { expect, test } from "bun:test";
import { failedTests } from "./failed-tests.ts";

const output = [
  "bun test v1.4.5 (a7733435c)",
  "",
  "test/one.test.ts:",
  "(pass) is well [0.03ms]",
  "what the test wrote",
  "",
  "error: expect(received).toBe(expected)",
  "\u001b[31m(fail)\u001b[0m a block > \u001b[1mis [not] well\u001b[0m [1030.17ms]",
  "(skip) is left out",
  "(fail) without a time",
  "",
  "test/two.test.ts:",
  "",
  "# Unhandled error between tests",
  "-------------------------------",
  "error: at load",
  "-------------------------------",
  "",
  "2 tests failed:",
  "(fail) a block > is [not] well [1030.17ms]",
  "(fail) without a time",
  "",
  " 1 pass",
].join("\n");

test("each failed test is named with its file, its blocks and what stood before its verdict", () => {
  expect(failedTests(output).slice(0, 2)).toEqual([
    {
      name: "test/one.test.ts: a block > is [not] well",
      told: ["what the test wrote", "error: expect(received).toBe(expected)"],
    },
    { name: "test/one.test.ts: without a time", told: [] },
  ]);
});

test("an error outside of the tests is told under its file", () => {
  const [, , last, ...more] = failedTests(output);
  expect(last?.name).toBe("test/two.test.ts: an error outside of its tests");
  expect(last?.told).toContain("error: at load");
  expect(more).toEqual([]);
});

test("of a long tale the end is told", () => {
  const lines = Array.from({ length: 500 }, (_, n) => `line ${n}`);
  const [only] = failedTests(["test/a.test.ts:", ...lines, "(fail) x [1ms]"].join("\n"));
  expect(only?.told.length).toBe(40);
  expect(only?.told.at(-1)).toBe("line 499");
});

test("where all passed nothing is told", () => {
  expect(failedTests("test/a.test.ts:\nnoise\n(pass) x [1ms]\n")).toEqual([]);
});
