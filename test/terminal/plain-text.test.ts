/** What was said long ago steers no terminal. */
import { expect, test } from "bun:test";
import { plainText } from "../../src/terminal/plain-text.ts";

test.each([
  ["a\u001b[2Jb\u001b[1;31mc\u001b[0m", "abc"],
  ["\u001b]0;title\u0007a\u001b]52;c;cGFzdGU=\u001b\\b", "ab"],
  ["\u001bP1$r0m\u001b\\a\u001bcb\u001b(0c", "abc"],
  ["a\r\nb\rc\n", "a\nb\nc\n"],
  ["a\u0000b\u0007c\u009b2Jd\u007fe\tf", "abc2Jde\tf"],
  ["cut \u001b", "cut "],
  ["cut \u001b[3", "cut 3"],
  ["ünïcode 日本", "ünïcode 日本"],
])("%j", (said, shown) => {
  expect(plainText(said)).toBe(shown);
});
