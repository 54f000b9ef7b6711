/** The value of --vm-users. */
import { expect, test } from "bun:test";
import { parseUserRange } from "../../../src/commands/cli/user-range.ts";
import { codeOf } from "../../support/system/refusals.ts";

test("a range of numbers that accounts of the host do not have, or off", () => {
  expect(parseUserRange("200000-265535")).toEqual({ first: 200_000, last: 265_535 });
  expect(parseUserRange("5000-5000")).toEqual({ first: 5000, last: 5000 });
  expect(parseUserRange("off")).toBe("off");
});

test.each([
  "",
  "0-10",
  "999-2000",
  "5000",
  "6000-5000",
  "5000-2147483648",
  "5000-6000-7000",
  "root",
  "-5000-6000",
])("%p is none", (text) => {
  expect(codeOf(() => parseUserRange(text))).toBe("usage");
});
