/** By which addresses a destination says that it is reached. */
import { expect, test } from "bun:test";
import type { NetworkInterfaceInfo } from "node:os";
import { hostname } from "node:os";
import { announcementOf } from "../../../../src/migration/destination/serving/announcement.ts";
import { reachableAt, reachableHosts } from "../../../../src/migration/destination/serving/reachable.ts";

const at = (address: string, internal = false) =>
  ({ address, internal, family: address.includes(":") ? "IPv6" : "IPv4" }) as NetworkInterfaceInfo;

const interfaces = {
  lo: [at("127.0.0.1", true), at("::1", true)],
  virbr0: [at("192.168.122.1")],
  eth0: [at("fe80::1"), at("2001:db8::7"), at("192.0.2.7"), at("169.254.1.1")],
};

test("first those of the interface with the default route, IPv4 before IPv6, and none that others cannot use", () => {
  const found = reachableHosts(interfaces, new Set(["eth0"]), true);
  expect(found).toEqual(["192.0.2.7", "2001:db8::7", "192.168.122.1"]);
  expect(reachableHosts(interfaces, new Set(), false)).toEqual(["192.168.122.1", "192.0.2.7"]);
});

test("what holds on one link alone is named where there is nothing else, with its interface", () => {
  const local = { lo: interfaces.lo, eth1: [at("fe80::1"), at("169.254.1.1")], eth2: [at("febf::2")] };
  expect(reachableHosts(local, new Set(), true)).toEqual(["169.254.1.1", "fe80::1%eth1", "febf::2%eth2"]);
  expect(reachableHosts({ lo: interfaces.lo }, new Set(), true)).toEqual([]);
});

test("a place that is named is what is said, and a port comes before a socket", async () => {
  const places = [{ unix: "/run/m" }, { host: "2001:db8::7", port: 7600 }];
  expect(await reachableAt(places)).toEqual(["[2001:db8::7]:7600", "unix:/run/m"]);
  expect(await announcementOf(places, { insecure: false })).toMatchObject({
    address: "unix:/run/m, [2001:db8::7]:7600",
    command: "migrate send VM [2001:db8::7]:7600 --ticket -",
  });
  expect((await announcementOf([{ unix: "/run/m" }], { insecure: true })).command).toBe(
    "migrate send VM unix:/run/m --insecure",
  );
});

test("of a wildcard no loopback address is said, but what there is to be said if there is no other", async () => {
  const found = await reachableAt([{ host: "::", port: 7600 }]);
  expect(found.length).toBeGreaterThan(0);
  for (const text of found) expect(text).not.toMatch(/^(?:127\.|\[::1\])/);
  // The name comes last, where it is said at all.
  const at = found.indexOf(`${hostname()}:7600`);
  expect([-1, found.length - 1]).toContain(at);
});
