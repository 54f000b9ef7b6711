import { expect, test } from "bun:test";
import { LanePlaces } from "../../../../src/migration/destination/peers/lane-places.ts";

test("one source has 64 lanes, as many more wait for a place, and others have theirs", () => {
  const lanes = new LanePlaces<string>();
  const comes = (source: string, name: string) => {
    const place = lanes.place(name, source, name);
    if (place === "now") lanes.open(name, `session of ${source}`, source);
    return place;
  };
  const places = Array.from({ length: 130 }, (_, i) => comes("greedy", `lane${i}`));
  expect(places.filter((place) => place === "now")).toHaveLength(64);
  expect(places.filter((place) => place === "later")).toHaveLength(64);
  expect(places.filter((place) => place === "never")).toHaveLength(2);
  expect(comes("honest", "honest")).toBe("now");
  expect(lanes.ofSession("session of greedy")).toBe(64);
  expect(lanes.next()).toBeUndefined();
  // The one that has waited longest is next, unless it has gone.
  expect(lanes.close("lane64")).toBe(false);
  expect(lanes.close("lane0")).toBe(true);
  expect(lanes.next()).toBe("lane65");
  expect(lanes.isEmpty).toBe(false);
});
