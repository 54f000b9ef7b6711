import { expect, test } from "bun:test";
import { addressGroup } from "../../src/channel/address-group.ts";
import { type Farewell, Strangers } from "../../src/channel/strangers.ts";

/** Strangers of that number and patience, and who was turned away for what. */
function make(most: number, patienceMs = 60_000) {
  const away: [string, Farewell][] = [];
  const late = Promise.withResolvers<void>();
  const strangers = new Strangers<string>(most, patienceMs, (link, why) => {
    away.push([link, why]);
    if (why === "late") late.resolve();
  });
  return { strangers, away, late: late.promise };
}

test("the one that has waited longest makes room for one more", () => {
  const { strangers, away } = make(2);
  for (const link of ["a", "b", "c", "d"]) strangers.add(link, "192.0.2.1");
  expect(away).toEqual([
    ["a", "crowded"],
    ["b", "crowded"],
  ]);
  expect(strangers.count).toBe(2);
  strangers.drop("c");
  strangers.drop("d");
});

test("who has settled takes no room, and is not turned away any more", () => {
  const { strangers, away } = make(2);
  strangers.add("a", "192.0.2.1");
  strangers.drop("a");
  strangers.drop("a");
  strangers.add("b", "192.0.2.1");
  strangers.add("c", "192.0.2.1");
  expect(away).toEqual([]);
  expect(strangers.count).toBe(2);
  strangers.drop("b");
  strangers.drop("c");
  expect(strangers.count).toBe(0);
});

test("who waits too long is turned away once", async () => {
  const { strangers, away, late } = make(2, 10);
  strangers.add("a", "192.0.2.1");
  await late;
  expect(away).toEqual([["a", "late"]]);
  expect(strangers.count).toBe(0);
});

test("the address with the most loses one of its own, and the others stay", () => {
  const { strangers, away } = make(4);
  strangers.add("honest", "192.0.2.7");
  for (const link of ["a", "b", "c", "d", "e"]) strangers.add(link, "198.51.100.1");
  expect(away).toEqual([
    ["a", "crowded"],
    ["b", "crowded"],
  ]);
  for (const link of ["honest", "c", "d", "e"]) strangers.drop(link);
  expect(strangers.count).toBe(0);
});

test("addresses that trusted peers have come from keep half of the places, whoever else comes", () => {
  const { strangers, away } = make(4);
  strangers.know(["192.0.2.7", "::ffff:192.0.2.8"]);
  strangers.add("one", "192.0.2.7");
  strangers.add("two", "192.0.2.8");
  for (let i = 0; i < 10; i++) strangers.add(`x${i}`, `198.51.100.${i}`);
  expect(away.map(([link]) => link)).toEqual(["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"]);
  // Half of the places, and not all of them.
  strangers.add("three", "192.0.2.7");
  strangers.add("four", "192.0.2.7");
  strangers.add("new", "203.0.113.1");
  expect(away.slice(8).map(([link]) => link)).toEqual(["x8", "one", "three"]);
  for (const link of ["two", "x9", "four", "new"]) strangers.drop(link);
});

test("of an IPv6 address the first 64 bits count, and an IPv4 address is the same in either form", () => {
  expect(addressGroup("2001:db8:0:1::5")).toBe(addressGroup("2001:db8:0:1:aaaa:bbbb:cccc:dddd"));
  expect(addressGroup("2001:db8:0:1::5")).not.toBe(addressGroup("2001:db8:0:2::5"));
  expect(addressGroup("2001:0db8::1:0:0:1")).toBe("2001:db8:0:0::/64");
  expect(addressGroup("fe80::1%eth0")).toBe("fe80:0:0:0::/64");
  expect(addressGroup("::1")).toBe("0:0:0:0::/64");
  expect(addressGroup("::ffff:192.0.2.7")).toBe("192.0.2.7");
  expect(addressGroup("192.0.2.7")).toBe("192.0.2.7");
});
