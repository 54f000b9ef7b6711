/** An inventory is made while its source reads it, and not before. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { leases } from "../../../src/migration/destination/peers/leases.ts";
import { limits } from "../../../src/protocol/limits.ts";
import type { Offer } from "../../../src/protocol/offer.ts";
import { until } from "../../support/system/until.ts";
import { emptyOffer, PlayedDestination, session } from "./played-destination.ts";

const { chunkBytes, inventoryTags, tagBytes } = limits;
/** The tests of this file keep less together than is written out (tag-memory.ts). */
const slabs = 128;
const slabBytes = inventoryTags * chunkBytes;
const sparse: Offer = {
  ...emptyOffer,
  files: [{ kind: "disk", name: "d", bytes: slabs * slabBytes, allocatedBytes: 0 }],
};

let played: PlayedDestination;
beforeEach(() => {
  played = new PlayedDestination();
});
afterEach(() => played.close());

/** A chunk of data in each stretch of the disk: the inventory is 8 MiB. */
async function interrupted(): Promise<void> {
  const visit = await played.visit(1);
  await visit.say("offer", sparse).hearNames(1);
  const places = new Uint32Array(slabs * 2);
  for (let slab = 0; slab < slabs; slab++) places[slab * 2 + 1] = slab * inventoryTags;
  const tags = new Uint8Array(slabs * tagBytes).fill(1);
  played.destination.hear(0, { kind: "chunks", conn: 1, session, places, tags, bytesReceived: 0 });
  visit.end();
  // The destination remembers what came once it knows that the link is gone.
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

test("a source that does not read is sent no more of it, and gets all of it once it does", async () => {
  await interrupted();
  const visit = await played.visit(2);
  visit.isUnread = true;
  visit.say("offer", sparse);
  await until(() => visit.saidBytes > 500_000, "the first part of the inventory");
  await (await played.visit(3, "sha256:other", "00".repeat(16))).say("query", { session }).hearNames(1);
  expect(visit.saidBytes).toBeLessThan(1024 * 1024);
  // Nobody waits for it: a newer connection takes over, and is told everything.
  const newer = await played.visit(4);
  newer.say("offer", sparse);
  expect(await newer.hearNames(2)).toEqual(["accept", "inventoryEnd"]);
  expect(newer.saidBytes).toBeGreaterThan(slabs * inventoryTags * tagBytes);
  expect(visit.closed).toBe(true);
});

test("a destination that stops does not wait for a source that does not read", async () => {
  await interrupted();
  const visit = await played.visit(2);
  visit.isUnread = true;
  visit.say("offer", sparse);
  await until(() => visit.saidBytes > 500_000, "the first part of the inventory");
  await played.destination.stop();
  expect(visit.closed).toBe(true);
});

test("a session that expires does not wait for one either, nor do the others", async () => {
  await interrupted();
  const visit = await played.visit(2);
  visit.isUnread = true;
  visit.say("offer", sparse);
  await until(() => visit.saidBytes > 500_000, "the first part of the inventory");
  played.nowMs = Date.now() + leases.heldMs + 60_000;
  await played.destination.upkeep();
  expect(played.record?.state).toBe("cancelled");
  expect(visit.closed).toBe(true);
});
