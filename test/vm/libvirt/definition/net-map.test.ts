/** --net-map: what a person writes, and what is behind a card then. */
import { describe, expect, test } from "bun:test";
import type { DomainCard } from "../../../../src/vm/libvirt/definition/domain.ts";
import { cardPlaceOf, readNetMap, unusedKeys } from "../../../../src/vm/libvirt/definition/net-map.ts";

const card = (
  kind: DomainCard["source"]["kind"],
  name: string | null,
  mac: string | null = "52:54:00:aa:bb:01",
): DomainCard => ({
  mac,
  source: { kind, name },
  model: "virtio",
});

describe("a network map", () => {
  const map = readNetMap("default=br0,52:54:00:AA:BB:02=none,ovs0=network:lan,user0=user,none");

  test("finds a card by its network, its bridge, its MAC, or as one of the others", () => {
    expect(cardPlaceOf(map, card("network", "default"))).toEqual({ kind: "bridge", name: "br0" });
    expect(cardPlaceOf(map, card("bridge", "ovs0"))).toEqual({ kind: "network", name: "lan" });
    expect(cardPlaceOf(map, card("network", "user0"))).toEqual({ kind: "user" });
    expect(cardPlaceOf(map, card("network", "default", "52:54:00:aa:bb:02"))).toEqual({ kind: "none" });
    expect(cardPlaceOf(map, card("network", "other"))).toEqual({ kind: "none" });
    expect(cardPlaceOf(map, card("user", null, null))).toEqual({ kind: "none" });
  });

  test("says nothing of a card that it does not name", () => {
    expect(cardPlaceOf(readNetMap("a=br0"), card("network", "default"))).toBe("same");
  });

  test("has a bare value for all", () => {
    expect(cardPlaceOf(readNetMap("br0"), card("network", "x"))).toEqual({ kind: "bridge", name: "br0" });
    expect(cardPlaceOf(readNetMap("network:lan"), card("user", null))).toEqual({
      kind: "network",
      name: "lan",
    });
    expect(cardPlaceOf(readNetMap("bridge:none"), card("user", null))).toEqual({
      kind: "bridge",
      name: "none",
    });
  });

  test("knows which of its keys no card has", () => {
    expect(
      unusedKeys(map, [card("network", "default"), card("bridge", "ovs0", "52:54:00:aa:bb:02")]),
    ).toEqual(["user0"]);
  });

  test.each([
    "",
    ",",
    "none,user",
    "a=br0,a=br1",
    "52:54:00:aa:bb:01=a,52:54:00:AA:BB:01=b",
    "=br0",
    "a=",
    "a=b=c",
    "a=network:",
    "a=bridge:x/y",
    "a/b=br0",
    "a=a-bridge-with-a-long-name",
    "a=\u202eb",
    "a=br0\n",
    Array.from({ length: 257 }, (_, at) => `k${at}=a`).join(","),
  ])("is not %j", (text) => {
    expect(() => readNetMap(text)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});
