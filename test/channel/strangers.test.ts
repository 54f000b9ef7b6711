import { expect, test } from "bun:test";
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
  for (const link of ["a", "b", "c", "d"]) strangers.add(link);
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
  strangers.add("a");
  strangers.drop("a");
  strangers.drop("a");
  strangers.add("b");
  strangers.add("c");
  expect(away).toEqual([]);
  expect(strangers.count).toBe(2);
  strangers.drop("b");
  strangers.drop("c");
  expect(strangers.count).toBe(0);
});

test("who waits too long is turned away once", async () => {
  const { strangers, away, late } = make(2, 10);
  strangers.add("a");
  await late;
  expect(away).toEqual([["a", "late"]]);
  expect(strangers.count).toBe(0);
});
