/** The syntax of QEMU's options, as qemu-option.c and keyval.c read it. */
import { expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import {
  readJsonPairs,
  readPairs,
  shown,
  writePairs,
} from "../../../../src/vm/qemu/definition/option-syntax.ts";
import { patterns, Settings } from "../../../../src/vm/qemu/definition/settings.ts";

const dotted = (text: string, implied?: string) =>
  readPairs("-x", text, implied).map(({ key, value }) => `${key}|${value}`);

test.each([
  ["a=1,b=2", ["a|1", "b|2"]],
  ["first,b=2", ["implied|first", "b|2"]],
  ["a=1,,2,b=,,", ["a|1,2", "b|,"]],
  ["a=1,,,b=2", ["a|1,", "b|2"]],
  ["a=b=c", ["a|b=c"]],
  ["x=1,server,nowait", ["x|1", "server|on", "wait|off"]],
  ["", []],
  ["a=1,,", ["a|1,"]],
])("%s is read as QEMU reads it", (text, pairs) => {
  expect(dotted(text, "implied")).toEqual(pairs);
});

test("what was read and written says the same again", () => {
  for (const text of ["socket,id=a,path=/x,,y,server=on", "a=1", "x,b=,,,,"]) {
    const pairs = readPairs("-x", text, "backend");
    expect(readPairs("-x", writePairs(pairs, "backend"), "backend")).toEqual(pairs);
  }
});

test("JSON becomes keys with dots, and lists, fractions and deep nests are refused", () => {
  expect(readJsonPairs("-x", '{"a":"b","c":{"d":true,"e":null,"f":7}}')).toEqual([
    { key: "a", value: "b" },
    { key: "c.d", value: true },
    { key: "c.e", value: null },
    { key: "c.f", value: 7 },
  ]);
  for (const text of ['{"a":[1]}', '{"a":1.5}', "{", "[]", "1", '{"a":{"b":{"c":{"d":{"e":1}}}}}']) {
    expect(() => readJsonPairs("-x", text)).toThrow(MigrateError);
  }
  const many = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`k${at}`, 1]));
  expect(() => readJsonPairs("-x", JSON.stringify(many))).toThrow("more than 128 keys");
  expect(() => readPairs("-x", "a=1,".repeat(200))).toThrow("more than 128 keys");
});

test("a key that nobody took, that is there twice or has a bad value is refused by its name", () => {
  const settings = Settings.read("-x", "a=1,b=2");
  expect(settings.take("a", patterns.whole)).toBe("1");
  expect(() => settings.end()).toThrow("-x b is refused");
  expect(() => Settings.read("-x", "a=1,a=2")).toThrow("-x a is refused: it is given twice");
  expect(() => Settings.read("-x", "a=one").take("a", patterns.whole)).toThrow("-x a is refused");
  expect(() => Settings.read("-x", "a=1").need("b", patterns.whole)).toThrow("it has no b");
  // Names that every JavaScript object has are keys like any other.
  expect(() => Settings.read("-x", "constructor=1").end()).toThrow("-x constructor is refused");
  expect(Settings.read("-x", "constructor=1").kept({})).toEqual([]);
});

test("a word for a sentence is short and moves no cursor", () => {
  expect(shown("\u001b[2J\u202ex")).toBe("?[2J?x");
  expect(shown("x".repeat(100))).toBe(`${"x".repeat(40)}…`);
});
