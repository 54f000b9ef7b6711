import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { leases } from "../../../../src/migration/destination/peers/leases.ts";
import { PeerLinks } from "../../../../src/migration/destination/peers/peer-links.ts";
import { sessionShare } from "../../../../src/migration/destination/peers/peer-share.ts";
import { PromisedRoom } from "../../../../src/migration/destination/peers/promised-room.ts";
import { type Work, WorkRate, workOf } from "../../../../src/migration/destination/peers/work-rate.ts";
import { freeBytes } from "../../../../src/platform/files/filesystem.ts";
import type { Message } from "../../../../src/protocol/messages.ts";
import { emptyOffer, PlayedDestination, sealOf, session } from "../played-destination.ts";

let played: PlayedDestination;
beforeEach(() => {
  played = new PlayedDestination();
});
afterEach(() => played.close());

const idOf = (number: number) => number.toString(16).padStart(32, "0");
const offerOf = (number: number) => ({ ...emptyOffer, name: `vm${number}` });
const later = (ms: number) => {
  played.nowMs = Date.now() + ms;
  return played.destination.upkeep();
};

/** A source offers a VM and goes. */
async function offers(number: number, peer: string): Promise<string> {
  const visit = await played.visit(1, peer, idOf(number));
  const [answer] = await visit.say("offer", offerOf(number)).hearNames(1);
  visit.end();
  return answer!;
}

describe("the sessions of a destination", () => {
  test("are half of them for others, however many one source offers", async () => {
    const answers: string[] = [];
    for (let number = 0; number < 6; number++) answers.push(await offers(number, "sha256:greedy"));
    expect(answers).toEqual([...Array(4).fill("accept"), "error busy", "error busy"]);
    expect(await offers(10, "sha256:honest")).toBe("accept");
    expect(await offers(11, "sha256:third")).toBe("accept");
  });

  test("are shared so that one more source always finds a place", () => {
    expect([sessionShare(16, 0), sessionShare(16, 8), sessionShare(16, 15), sessionShare(1, 0)]).toEqual([
      8, 4, 1, 1,
    ]);
    expect(sessionShare(16, 16)).toBe(0);
  });
});

describe("what a source holds without progress", () => {
  test("goes after a quarter of an hour, if it is nothing but a name and a place", async () => {
    expect(await offers(1, "sha256:source")).toBe("accept");
    await later(leases.emptyMs - 60_000);
    expect(played.journal.find(idOf(1))?.state).toBe("receiving");
    await later(leases.emptyMs + 60_000);
    expect(played.journal.find(idOf(1))?.state).toBe("cancelled");
    expect(readdirSync(played.store)).toEqual([]);
    // The source is told, whenever it comes again.
    const again = await played.visit(2, "sha256:source", idOf(1));
    expect((await again.say("offer", offerOf(1)).hear()).body).toMatchObject({ state: "cancelled" });
  });

  test("stays for three days if its source is there", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).hearNames(1);
    await later(leases.heldMs - 60_000);
    expect(played.record?.state).toBe("receiving");
    await later(leases.heldMs + 60_000);
    expect(played.record?.state).toBe("cancelled");
    expect(await visit.hearNames(1)).toEqual(["error cancelled"]);
  });

  // [OWN-2]
  test("is never dropped once it is ready, nor once it is owned", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).say("seal", sealOf(emptyOffer)).hearNames(2);
    const century = 100 * 365 * 24 * 3_600_000;
    await later(century);
    expect(played.record?.state).toBe("ready");
    expect(await visit.say("release", {}).hearNames(1)).toEqual(["owned"]);
    visit.end();
    await later(2 * century);
    expect(played.record?.state).toBe("owner");
    expect(existsSync(join(played.store, "web1", "vm.json"))).toBe(true);
  });
});

describe("a session whose record has gone", () => {
  const prunedAs = async (words: ("release" | "confirm" | "cancel")[]) => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).say("seal", sealOf(emptyOffer)).hearNames(2);
    for (const word of words) await visit.say(word, {}).hearNames(1);
    visit.end();
    await later(365 * 24 * 3_600_000);
    expect(played.record).toBeNull();
  };

  // [OWN-5] [HELLO-1] [HELLO-3]
  test("is still answered for: a VM that came is the destination's, whatever was done with it since", async () => {
    await prunedAs(["release", "confirm"]);
    const late = await played.visit(2);
    late.say("release", {}).say("confirm", {}).say("cancel", {}).say("offer", emptyOffer);
    expect(await late.hearNames(3)).toEqual(["owned", "closed", "owned"]);
    expect((await late.hear()).body).toMatchObject({ state: "owner" });
    late.say("query", { session });
    expect((await late.hear()).body).toEqual({ session, state: "closed" });
    const older = await played.visit(1);
    expect(await older.say("cancel", {}).hearNames(1)).toEqual(["error busy"]);
    const other = await played.visit(3, "sha256:other");
    expect(await other.say("release", {}).hearNames(1)).toEqual(["error unknown-session"]);
    expect(existsSync(join(played.store, "web1", "vm.json"))).toBe(true);
  });

  // [OWN-5]
  test("and one that was cancelled stays so", async () => {
    await prunedAs(["cancel"]);
    const late = await played.visit(2);
    late.say("cancel", {}).say("release", {}).say("offer", emptyOffer);
    expect(await late.hearNames(2)).toEqual(["cancelled", "cancelled"]);
    expect((await late.hear()).body).toMatchObject({ state: "cancelled" });
    expect(readdirSync(played.store)).toEqual([]);
  });
});

describe("a source that asks a lot", () => {
  /** A clock that a test moves, and connections that ask; `turns` has what became of each, in that order. */
  function asked() {
    let nowMs = 0;
    const timers = new Map<() => void, number>();
    const rate = new WorkRate({
      nowMs: () => nowMs,
      after(ms, run) {
        timers.set(run, nowMs + ms);
        return () => timers.delete(run);
      },
    });
    const turns: string[] = [];
    const listeners = new Set<() => void>();
    const link = {
      onClosed(listener: () => void) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    return {
      turns,
      listeners,
      timers,
      async ask(source: string, count: number, request: Work = "list") {
        for (let i = 0; i < count; i++)
          void rate.turn(source, request, link).then((isTurn) => turns.push(isTurn ? source : "gone"));
        await Bun.sleep(0);
      },
      async pass(ms: number) {
        nowMs += ms;
        for (const [run, atMs] of timers) if (atMs <= nowMs) run();
        await Bun.sleep(0);
      },
      async close() {
        for (const listener of listeners) listener();
        await Bun.sleep(0);
      },
    };
  }

  test("waits, and another one does not", async () => {
    const { turns, ask, pass } = asked();
    await ask("a", 300);
    expect(turns.length).toBe(200);
    await ask("b", 1);
    expect(turns.at(-1)).toBe("b");
    await pass(3960);
    expect(turns.length).toBe(300);
    await pass(40);
    expect(turns.length).toBe(301);
  });

  test("does not wait for what ends a VM's downtime", async () => {
    const { turns, ask } = asked();
    await ask("a", 300);
    for (const request of ["release", "confirm", "publish"] as const) await ask("a", 1, request);
    expect(turns.length).toBe(203);
  });

  test("waits longer for an offer of a VM that runs, for which a QEMU is asked, than for one of files", async () => {
    const machine = { live: true, definition: {}, disks: [], channels: 0, patienceMs: 0 };
    const works = [emptyOffer, { ...emptyOffer, machine }].map((body) => workOf({ name: "offer", body }));
    expect(works).toEqual(["offer", "offer-running"]);
    const seal: Message = { name: "seal", body: sealOf(emptyOffer) };
    expect([workOf(seal), workOf(seal, true)]).toEqual(["seal", "seal-again"]);
    const { turns, ask } = asked();
    for (const work of works) await ask(work, 100, work);
    expect(works.map((work) => turns.filter((source) => source === work).length)).toEqual([100, 5]);
  });

  test("and goes leaves nothing behind, and nothing to wait for", async () => {
    const { turns, listeners, timers, ask, pass, close } = asked();
    for (let round = 0; round < 50; round++) {
      await ask("a", 300);
      await close();
    }
    expect([listeners.size, timers.size]).toEqual([0, 0]);
    turns.length = 0;
    // What was done was 200 requests; they are paid for after these 8 s, and what was not done costs nothing.
    await pass(8000);
    await ask("a", 200);
    expect(turns).toEqual(Array(200).fill("a"));
  });
});

test("a connection that names a session which there is not speaks for nothing", async () => {
  const visits = [];
  for (let number = 0; number < 40; number++) {
    const visit = await played.visit(1, "sha256:greedy", idOf(number));
    expect(await visit.say("cancel", {}).hearNames(1)).toEqual(["cancelled"]);
    visits.push(visit);
  }
  expect(visits.filter(({ closed }) => closed)).toHaveLength(8);
});

test("of the connections of a source that speak for nothing the oldest goes, and nobody else's", () => {
  const gone: string[] = [];
  const links = new PeerLinks<string>((link) => gone.push(link));
  links.add("honest", "status");
  links.add("greedy", "bound");
  links.bound("bound");
  for (let i = 0; i < 40; i++) links.add("greedy", `idle${i}`);
  expect(gone).toEqual(Array.from({ length: 8 }, (_, i) => `idle${i}`));
});

describe("room of the store", () => {
  const gibibyte = 1024 ** 3;

  test("that is promised to a session under way is not there for another, until nothing comes any more", () => {
    let nowMs = 0;
    const room = new PromisedRoom(() => nowMs);
    room.promise("a", 10 * gibibyte, gibibyte);
    expect(room.owedToOthers("b")).toBe(9 * gibibyte);
    expect(room.owedToOthers("a")).toBe(0);
    room.arrived("a", gibibyte);
    expect(room.owedToOthers("b")).toBe(8 * gibibyte);
    nowMs += 61_000;
    expect(room.owedToOthers("b")).toBe(0);
    room.arrived("a", gibibyte);
    expect(room.owedToOthers("b")).toBe(7 * gibibyte);
    room.release("a");
    expect(room.owedToOthers("b")).toBe(0);
  });

  test("is not taken by an offer that says more once it was let in", async () => {
    const visit = await played.visit(1);
    const offer = (allocatedBytes: number) => ({
      ...emptyOffer,
      files: [{ kind: "disk" as const, name: "d", bytes: 2 ** 43, allocatedBytes }],
    });
    expect(await visit.say("offer", offer(0)).hearNames(1)).toEqual(["accept"]);
    expect(await visit.say("offer", offer(freeBytes(played.store) * 2)).hearNames(1)).toEqual([
      "error no-room",
    ]);
    const again = await played.visit(2);
    expect(await again.say("offer", offer(0)).hearNames(2)).toEqual(["accept", "inventoryEnd"]);
  });

  test("is looked at by a session that brings more than it said, however often it is offered", () => {
    const room = new PromisedRoom(() => 0);
    const times: number[] = [];
    for (let i = 0; i < 100; i++) {
      room.promise("a", 0, i * 1024 ** 2);
      if (room.arrived("a", 1024 ** 2)) times.push(i);
    }
    expect(times).toEqual([63]);
  });

  test("is looked at again when a session brings more than it said", () => {
    const room = new PromisedRoom(() => 0);
    room.promise("a", gibibyte, 0);
    expect(room.arrived("a", gibibyte)).toBe(false);
    expect(room.arrived("a", gibibyte)).toBe(true);
    expect(room.arrived("a", 1)).toBe(false);
  });

  test("that others wait for refuses an offer that would take it", async () => {
    const huge = (name: string) => ({
      ...emptyOffer,
      name,
      files: [
        {
          kind: "disk" as const,
          name: "d",
          bytes: 2 ** 42,
          allocatedBytes: freeBytes(played.store) - 1024 ** 3,
        },
      ],
    });
    const first = await played.visit(1, "sha256:a", idOf(1));
    expect(await first.say("offer", huge("a")).hearNames(1)).toEqual(["accept"]);
    const second = await played.visit(1, "sha256:b", idOf(2));
    expect(await second.say("offer", huge("b")).hearNames(1)).toEqual(["error no-room"]);
    first.end();
    const third = await played.visit(1, "sha256:b", idOf(3));
    expect(await third.say("offer", huge("b")).hearNames(1)).toEqual(["accept"]);
  });
});
