/** ASK: what would become of an offer is said in its own words, and nothing of it is left. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { workOf } from "../../../src/migration/destination/peers/work-rate.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { offeredOf } from "../../../src/protocol/vm-policy.ts";
import { emptyOffer, PlayedDestination, session, type Visit } from "./played-destination.ts";

let played: PlayedDestination;
beforeEach(() => {
  played = new PlayedDestination();
});
afterEach(() => played.close());

async function answered(visit: Visit, asked: MessageBody<"ask">): Promise<MessageBody<"answer">> {
  const { name, body } = await visit.say("ask", asked).hear();
  expect(name).toBe("answer");
  return body as MessageBody<"answer">;
}

function expectNothingLeft(): void {
  expect(played.journal.all("destination")).toEqual([]);
  expect(readdirSync(played.store)).toEqual([]);
}

// [ASK-2]
test("an offer that would be taken is answered with the room that there is, and neither session nor file is left", async () => {
  const visit = await played.visit(1);
  const answer = await answered(visit, emptyOffer);
  expect(answer.refused).toEqual([]);
  expect(answer.room).toEqual({ neededBytes: 0, freeBytes: expect.any(Number), promisedBytes: 0 });
  expect(answer.room.freeBytes).toBeGreaterThan(0);
  expectNothingLeft();
  // Nor is the name taken for whoever offers then.
  expect(
    await (await played.visit(1, "sha256:other", "0b".repeat(16))).say("offer", emptyOffer).hearNames(1),
  ).toEqual(["accept"]);
});

// [ASK-1]
test("what is refused is what an offer would be refused with, and what would be refused after that", async () => {
  mkdirSync(join(played.store, "web1"));
  const huge = {
    ...emptyOffer,
    files: [{ ...emptyOffer.files[0]!, bytes: 2 ** 42, allocatedBytes: 2 ** 42 }],
  };
  const asking = await played.visit(1);
  const { refused } = await answered(asking, huge);
  expect(refused.map(({ code }) => code)).toEqual(["name-taken", "no-room"]);
  const { body } = await asking.say("offer", huge).hear();
  expect(body as MessageBody<"error">).toEqual(refused[0]!);
});

test("a store that cannot be written is told of, whatever else is", async () => {
  rmSync(played.store, { recursive: true });
  const asking = await played.visit(1);
  const { refused, room } = await answered(asking, emptyOffer);
  expect(refused).toEqual([
    { code: "store-failed", message: "the destination cannot write to its store (ENOENT)" },
  ]);
  expect(room.freeBytes).toBe(0);
  const { body } = await asking.say("offer", emptyOffer).hear();
  expect(body as MessageBody<"error">).toEqual(refused[0]!);
  expect(existsSync(played.store)).toBe(false);
  mkdirSync(played.store);
});

// [ASK-3]
test("the session that would be resumed, and those that end first, count if they are the asker's own", async () => {
  const first = await played.visit(1);
  await first.say("offer", emptyOffer).hearNames(1);
  first.end();
  const [mine, other] = [await played.visit(2), await played.visit(1, "sha256:other", "0b".repeat(16))];
  // Resumed, it is held against what was offered.
  expect((await answered(mine, { ...emptyOffer, session })).refused).toEqual([]);
  expect((await answered(mine, { ...emptyOffer, session, mode: "copy" })).refused).toEqual([
    { code: "policy", message: "the session was begun with other files than are offered now" },
  ]);
  const policy = offeredOf({ onlyAttested: false, noCopies: true })!;
  expect((await answered(mine, { ...emptyOffer, session, policy })).refused).toEqual([
    { code: "policy", message: "the session was begun with another policy of the VM's own" },
  ]);
  // Ended first, it has the name no more.
  expect((await answered(mine, { ...emptyOffer, ends: [session] })).refused).toEqual([]);
  for (const asked of [emptyOffer, { ...emptyOffer, session }, { ...emptyOffer, ends: [session] }]) {
    const [refused] = (await answered(other, asked)).refused;
    expect(refused).toEqual({
      code: "name-taken",
      message: "the name web1 is reserved at the destination already",
    });
  }
  expect(played.record?.state).toBe("receiving");
});

// [ASK-2]
test("who hangs up before the answer leaves nothing either", async () => {
  for (let n = 1; n <= 8; n++) {
    const visit = await played.visit(1, "sha256:source", `${n}`.repeat(32));
    visit.say("ask", emptyOffer);
    visit.end();
  }
  const last = await played.visit(1);
  await answered(last, emptyOffer);
  expectNothingLeft();
});

// [ASK-3]
test("an ASK costs of the source's share what the offer would", async () => {
  const machine = { live: true, definition: {}, disks: [], channels: 0, patienceMs: 1 };
  for (const body of [emptyOffer, { ...emptyOffer, machine }]) {
    expect(workOf({ name: "ask", body })).toBe(workOf({ name: "offer", body }));
  }
});
