import { expect, test } from "bun:test";
import {
  FamiliarAddresses,
  mostFamiliar,
} from "../../../../src/migration/destination/peers/familiar-addresses.ts";

test("one host with many addresses of a network of its own takes one place, and keeps nobody else from theirs", () => {
  let told: readonly string[] = [];
  const familiar = new FamiliarAddresses(["192.0.2.7"], (addresses) => {
    told = addresses;
  });
  for (let n = 1; n <= 2 * mostFamiliar; n++) familiar.add(`2001:db8::${n.toString(16)}`);
  expect(told).toEqual(["192.0.2.7", "2001:db8:0:0::/64"]);
});

test("the one that came last longest ago goes, not the one that was new first", () => {
  let told: readonly string[] = [];
  const familiar = new FamiliarAddresses([], (addresses) => {
    told = addresses;
  });
  for (let n = 0; n < mostFamiliar; n++) familiar.add(`10.0.${n >> 8}.${n & 255}`);
  familiar.add("10.0.0.0");
  familiar.add("192.0.2.7");
  expect(told).toHaveLength(mostFamiliar);
  expect(told).toContain("10.0.0.0");
  expect(told).not.toContain("10.0.0.1");
});
