/** XDR as libvirt writes it: what was written is read, and nothing that was not written is. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import {
  readTypedParams,
  type TypedParam,
  writeTypedParams,
} from "../../../../src/vm/libvirt/rpc/typed-params.ts";
import { XdrReader, XdrWriter } from "../../../../src/vm/libvirt/rpc/xdr.ts";

const hex = (text: string) => new XdrReader(Buffer.from(text.replaceAll(" ", ""), "hex"));

describe("values", () => {
  test("are read as they were written", () => {
    const bytes = new XdrWriter()
      .u32(0xffff_fffe)
      .i32(-2)
      .u64(2n ** 64n - 1n)
      .i64(-(2n ** 63n))
      .double(-0.5)
      .bool(true)
      .string("né")
      .opaque(Buffer.from([1, 2, 3, 4, 5]))
      .fixed(Buffer.from([9]))
      .bytes();
    const reader = new XdrReader(bytes);
    expect(reader.u32()).toBe(0xffff_fffe);
    expect(reader.i32()).toBe(-2);
    expect(reader.u64()).toBe(2n ** 64n - 1n);
    expect(reader.i64()).toBe(-(2n ** 63n));
    expect(reader.double()).toBe(-0.5);
    expect(reader.bool()).toBe(true);
    expect(reader.string(3)).toBe("né");
    expect([...reader.opaque(5)]).toEqual([1, 2, 3, 4, 5]);
    expect([...reader.fixed(1)]).toEqual([9]);
    reader.end();
  });

  test("have the bytes of RFC 4506", () => {
    const writer = new XdrWriter().string("sillyprog");
    writer.optional(null, () => {}).array([7], (value) => writer.u32(value));
    expect(Buffer.from(writer.bytes()).toString("hex")).toBe(
      "0000000973696c6c7970726f67000000000000000000000100000007",
    );
  });

  test("may be missing, or be a list", () => {
    const reader = hex("00000001 00000005 00000000 00000002 00000001 00000002");
    expect(reader.optional(() => reader.u32())).toBe(5);
    expect(reader.optional(() => reader.u32())).toBeNull();
    expect(reader.array(2, () => reader.u32())).toEqual([1, 2]);
    reader.end();
  });
});

describe("what is no value is a protocol error", () => {
  const wrong: Record<string, () => unknown> = {
    "a word of three bytes": () => hex("000000").u32(),
    "a hyper of one word": () => hex("00000000").u64(),
    "a truth value of 2": () => hex("00000002").bool(),
    "text longer than its limit": () => hex("00000005 68656c6c 6f000000").string(4),
    "text longer than what is there": () => hex("00000005 68656c6c").string(100),
    "a length of 4 GiB": () => hex("ffffffff 68656c6c").opaque(0xffff_ffff),
    "text without its padding": () => hex("00000001 68").string(4),
    "padding that is not zero": () => hex("00000001 68000001").string(4),
    "text with a NUL in it": () => hex("00000003 61006200").string(4),
    "text that is not UTF-8": () => hex("00000001 ff000000").string(4),
    "a list longer than its limit": () => hex("00000003").array(2, () => 0),
    "bytes behind the last value": () => hex("00000000").end(),
  };
  for (const [what, read] of Object.entries(wrong)) {
    test(what, () => {
      expect(read).toThrow(MigrateError);
      expect(read).toThrow(expect.objectContaining({ code: "protocol" }));
    });
  }
});

describe("typed parameters", () => {
  const params: TypedParam[] = [
    { field: "a", type: "int", value: -1 },
    { field: "b", type: "uint", value: 0xffff_ffff },
    { field: "c", type: "llong", value: -5n },
    { field: "d", type: "ullong", value: 5n },
    { field: "e", type: "double", value: 0.25 },
    { field: "f", type: "boolean", value: 1 },
    { field: "g", type: "string", value: "text" },
  ];

  test("of each type are read as they were written", () => {
    const writer = new XdrWriter();
    writeTypedParams(writer, params);
    const reader = new XdrReader(writer.bytes());
    expect(readTypedParams(reader, 100)).toEqual(params);
    reader.end();
  });

  test("are at most 64, with types that are known, and texts within the limit", () => {
    const many = new XdrWriter();
    writeTypedParams(many, Array(65).fill(params[0]));
    expect(() => readTypedParams(new XdrReader(many.bytes()), 100)).toThrow("more than 64");
    const unknown = new XdrWriter().u32(1).string("a").i32(8).i32(0).bytes();
    expect(() => readTypedParams(new XdrReader(unknown), 100)).toThrow("unknown type");
    const long = new XdrWriter();
    writeTypedParams(long, params);
    expect(() => readTypedParams(new XdrReader(long.bytes()), 3)).toThrow("more than 3 bytes");
  });
});
