import { expect, test } from "bun:test";
import { resolve } from "node:path";
import { addressText, parseAddressText } from "../../../src/channel/address.ts";
import { destinationAddress, listenAddress } from "../../../src/commands/cli/unix-address.ts";

test("a unix socket is taken where a host and a port are, and has its whole path for a name", () => {
  expect(listenAddress("unix:/run/m")).toEqual({ unix: "/run/m" });
  expect(destinationAddress("unix:/run/m")).toEqual({ unix: "/run/m", name: "unix:/run/m" });
  const path = resolve("m.sock");
  expect(destinationAddress("unix:m.sock")).toEqual({ unix: path, name: `unix:${path}` });
  expect(listenAddress("[::]:0")).toEqual({ host: "::", port: 0 });
  expect(destinationAddress("hostb")).toEqual({ host: "hostb", port: 7600 });
});

test("one without a path is refused, and so is a port 0 to go to", () => {
  expect(() => listenAddress("unix:")).toThrow("must have the path of a socket behind unix:");
  expect(() => destinationAddress("unix:")).toThrow("must have the path of a socket behind unix:");
  expect(() => destinationAddress("hostb:0")).toThrow("must be HOST:PORT");
});

test("an address comes back from its text, but for a way that somebody else opens", () => {
  for (const text of ["192.0.2.7:7600", "[2001:db8::7]:1", "unix:/run/m:1"]) {
    expect(addressText(parseAddressText(text))).toBe(text);
  }
  expect(parseAddressText("unix:/run/m:1")).toEqual({ unix: "/run/m:1", name: "unix:/run/m:1" });
  const name = "ssh://root@hostb/srv/vms";
  expect(addressText({ unix: "/run/1", name })).toBe(name);
  expect(() => parseAddressText(name)).toThrow(`no way to ${name} is open`);
});
