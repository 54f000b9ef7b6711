import { expect, test } from "bun:test";
import { summaryOfTests } from "./test-summary.ts";

const end = (pass: number, fail: number, ran = pass + fail, skip = 0) =>
  `${"(pass) x\n".repeat(pass)}\n ${pass} pass\n${skip ? ` ${skip} skip\n` : ""} ${fail} fail\n 9 expect() calls\nRan ${ran} tests across 2 files. [3.00ms]\n`;

test("the counts of the closing lines are taken, colours or not", () => {
  expect(summaryOfTests(end(3, 0), 0)).toEqual({ passed: 3, failed: 0, skipped: 0 });
  expect(summaryOfTests(end(3, 2), 1)).toEqual({ passed: 3, failed: 2, skipped: 0 });
  expect(summaryOfTests(end(3, 0, 4, 1), 0)).toEqual({ passed: 3, failed: 0, skipped: 1 });
  expect(
    summaryOfTests("\u001b[32m 1 pass\u001b[0m\n 0 fail\nRan 1 test across 1 file. [1ms]\n", 0).passed,
  ).toBe(1);
});

test("a run that ended early is a failure, whatever its exit code says", () => {
  expect(summaryOfTests("(pass) one\n(pass) two\n", 0)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  expect(summaryOfTests("", 0).failed).toBe(1);
});

test("a failure outside of tests, a count that does not add up and no tests at all are failures", () => {
  expect(summaryOfTests(end(3, 0), 1).failed).toBe(1);
  expect(summaryOfTests(end(3, 0, 5), 0).failed).toBe(1);
  expect(summaryOfTests(end(0, 0), 0).failed).toBe(1);
  expect(summaryOfTests(end(3, 0), null).failed).toBe(1);
});

test("what a test prints is not taken for the end", () => {
  expect(summaryOfTests(` 7 pass\nRan 7 tests across 1 file.\n${end(1, 1)}`, 1)).toEqual({
    passed: 1,
    failed: 1,
    skipped: 0,
  });
});
