import { describe, expect, test } from "bun:test";
import { address } from "../../../src/commands/cli/option.ts";

describe("addresses", () => {
  test.each([
    ["192.0.2.7:7600", { host: "192.0.2.7", port: 7600 }],
    ["[2001:db8::7]:1", { host: "2001:db8::7", port: 1 }],
    ["[fe80::1%eth0]:65535", { host: "fe80::1%eth0", port: 65535 }],
    ["host-2.example", { host: "host-2.example", port: 7600 }],
  ])("reads %p", (text, expected) => {
    expect(address(1, 7600)(text)).toEqual(expected);
  });

  test.each([
    "",
    ":1",
    "h:",
    "h:0",
    "h:65536",
    "h:x",
    "::1:7600",
    "a b:1",
    "h:1:2",
    "u@h:1",
    "h/x:1",
    "[]:1",
  ])("refuses %p", (text) => {
    expect(() => address(1, 7600)(text)).toThrow("must be HOST:PORT");
  });

  test("port 0 and no port are a matter of who asks", () => {
    expect(address(0)("127.0.0.1:0").port).toBe(0);
    expect(() => address(0)("127.0.0.1")).toThrow("must be HOST:PORT");
  });
});
