import { expect, test } from "bun:test";
import {
  hasControls,
  hasInvisibleMarks,
  jsonLine,
  printable,
  visiblePattern,
  withoutInvisible,
} from "../../src/protocol/printable.ts";

const direction = ["\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"];
const lineEnds = ["\u2028", "\u2029"];

test("no character that moves a cursor, ends a line or turns text is left", () => {
  for (let code = 0; code < 0xa0; code++) {
    if (code >= 0x20 && code < 0x7f) continue;
    expect(printable(`a${String.fromCharCode(code)}b`)).toBe("a?b");
  }
  for (const character of [...direction, ...lineEnds]) expect(printable(`a${character}b`)).toBe("a?b");
  expect(printable("a\u001b[2Jb\nc\u009bd\u007fe\u202ef\u2028g")).toBe("a?[2Jb?c?d?e?f?g");
  expect(printable("a\ud800b")).toBe("a\ufffdb");
});

test("what is harmless stays as it is, and what stands in the place of the rest can be chosen", () => {
  expect(printable("Grüße, 世界 € 💾")).toBe("Grüße, 世界 € 💾");
  expect(printable("a\nb", " ")).toBe("a b");
  expect(printable("a\nb", "$&")).toBe("a$&b");
  expect(printable("a\nb", (character) => `<${character.charCodeAt(0)}>`)).toBe("a<10>b");
});

test("controls and invisible marks are told apart", () => {
  expect([hasControls("a\u009bb"), hasInvisibleMarks("a\u009bb")]).toEqual([true, false]);
  for (const character of [...direction, ...lineEnds])
    expect([hasControls(character), hasInvisibleMarks(character)]).toEqual([false, true]);
  expect([hasControls("Grüße"), hasInvisibleMarks("Grüße")]).toEqual([false, false]);
});

test("what draws nothing becomes a space, a run of it one space", () => {
  expect(withoutInvisible("a\u200b\u00adb\u2028\nc")).toBe("a b c");
});

test("a pattern for visible text counts its characters", () => {
  const pattern = visiblePattern(1, 3);
  for (const good of ["a", "a b", "世界€", "💾💾💾"]) expect(pattern.test(good)).toBe(true);
  for (const bad of ["", "abcd", "a\nb", "a\u200bb", "a\u2028", "a\n"]) expect(pattern.test(bad)).toBe(false);
});

test("a line of JSON holds nothing unprintable, and the same value", () => {
  const object = { name: "a\n\u007f\u009b\u2028\u202e\u2069b€" };
  const line = jsonLine(object);
  expect(line).toBe(printable(line));
  expect(JSON.parse(line)).toEqual(object);
});
