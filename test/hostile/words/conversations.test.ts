/** A trusted source that says the right things in the wrong order, twice, or in another's place. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { recordOfOffer } from "../../../src/migration/journal/offer-record.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, newSession } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";
import { offered } from "../../support/hostile/raw/session.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination({}, async (made) => {
  ground = made;
  source = await ground.trustedSource();
});

const stateOf = (session: string) => ground.sessions().find((record) => record.session === session)?.state;

/** A session of a new VM whose offer was accepted. */
const accepted = () => offered(ground, source);

/** A lane of the session, let in. */
async function laneOf(session: string, laneToken: string): Promise<RawPeer> {
  const lane = await ground.connect({ identity: source });
  lane.hello({ role: "lane", session, laneToken });
  await lane.expect("welcome");
  return lane;
}

/** A session whose VM is at the destination and sealed. */
async function ready() {
  const begun = await accepted();
  const lane = await laneOf(begun.session, begun.laneToken);
  await lane.sendChunks(begun.vm.chunks());
  begun.peer.send("seal", begun.vm.seal());
  expect(await begun.peer.expect("ready")).toEqual({ digest: begun.vm.seal().digest, readBack: "none" });
  return { ...begun, lane };
}

describe("before an offer", () => {
  test.each(["release", "publish", "confirm"] as const)("%s is of an unknown session", async (name) => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      expect(await peer.send(name, {}).error()).toEqual({
        code: "unknown-session",
        message: "the destination has no record of this session",
      });
    });
  });

  test("SEAL is of an unknown session", async () => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      expect((await peer.send("seal", new RawVm("x").seal()).error()).code).toBe("unknown-session");
    });
  });

  test("CANCEL is answered, and again, and leaves no record", async () => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      await peer.send("cancel", {}).expect("cancelled");
      await peer.send("cancel", {}).expect("cancelled");
      expect(stateOf(peer.session)).toBeUndefined();
    });
  });
});

describe("after an offer", () => {
  test.each(["release", "confirm"] as const)("%s before READY is refused and owns nothing", async (name) => {
    const { peer, session, vm } = await accepted();
    expect(await peer.send(name, {}).error()).toEqual({
      code: "in-doubt",
      message: "the session is receiving at the destination",
    });
    expect(stateOf(session)).toBe("receiving");
    expect(existsSync(join(ground.store, vm.name))).toBe(false);
    await ground.expectServing();
  });

  test("PUBLISH of a move is refused, before READY and after", async () => {
    const early = await accepted();
    expect((await early.peer.send("publish", {}).error()).code).toBe("in-doubt");
    expect(stateOf(early.session)).toBe("receiving");
    const late = await ready();
    expect((await late.peer.send("publish", {}).error()).code).toBe("in-doubt");
    expect(stateOf(late.session)).toBe("ready");
    expect(existsSync(join(ground.store, late.vm.name))).toBe(false);
    await ground.expectServing();
  });

  test("SEAL of bytes that did not come is an integrity error, and of other bytes too", async () => {
    for (const contents of [undefined, [Buffer.alloc(12_388, "other")]]) {
      const { peer, session, vm } = await accepted();
      expect((await peer.send("seal", vm.seal(contents)).error()).code).toBe("integrity");
      expect(stateOf(session)).toBe("receiving");
    }
    await ground.expectServing();
  });

  test("SEAL with digests for more files than there are, or fewer, is refused", async () => {
    const { peer, session, vm, laneToken } = await accepted();
    const lane = await laneOf(session, laneToken);
    await lane.sendChunks(vm.chunks());
    const { digest, files } = vm.seal();
    expect((await peer.send("seal", { digest, files: [...files, files[0]!] }).error()).code).toBe(
      "integrity",
    );
    expect(stateOf(session)).toBe("receiving");
    await ground.expectServing();
  });

  test("a second OFFER for other files is refused and changes nothing", async () => {
    const { peer, session, vm } = await accepted();
    const before = readFileSync(ground.staged(session, `${vm.name}.ram`));
    const other = vm.offer({}, { bytes: 2 ** 30, allocatedBytes: 0 });
    expect(await peer.sendJson("offer", other).error()).toEqual({
      code: "policy",
      message: "the session was begun with other files than are offered now",
    });
    expect(readFileSync(ground.staged(session, `${vm.name}.ram`)).equals(before)).toBe(true);
    await ground.expectServing();
  });

  test.each([
    ["another name", { name: "vm-other" }],
    ["another mode", { mode: "copy" }],
    ["another tag key", { tagKey: "0".repeat(32) }],
  ])("a second OFFER under %s is refused", async (_what, change) => {
    const { peer, vm } = await accepted();
    expect((await peer.sendJson("offer", vm.offer(change)).error()).code).toBe("policy");
  });

  test("OFFER again after READY takes the seal back: what can still change must not be owned", async () => {
    const { peer, vm, session } = await ready();
    expect((await peer.offer(vm.offer())).state).toBe("receiving");
    expect(stateOf(session)).toBe("receiving");
    expect((await peer.send("release", {}).error()).code).toBe("in-doubt");
    expect(existsSync(join(ground.store, vm.name))).toBe(false);
    await ground.expectServing();
  });

  test("RELEASE twice and CONFIRM twice are answered alike; afterwards nothing can be undone", async () => {
    const { peer, vm, session } = await ready();
    await peer.send("release", {}).expect("owned");
    await peer.send("release", {}).expect("owned");
    await peer.send("cancel", {}).expect("owned");
    await peer.send("confirm", {}).expect("closed");
    await peer.send("confirm", {}).expect("closed");
    await peer.send("cancel", {}).expect("owned");
    expect((await peer.offer(vm.offer())).state).toBe("owner");
    expect(stateOf(session)).toBe("closed");
    expect(readFileSync(join(ground.store, vm.name, `${vm.name}.ram`)).equals(vm.files[0]!.content)).toBe(
      true,
    );
    expect((await peer.send("seal", vm.seal()).error()).code).toBe("in-doubt");
    expect(readFileSync(join(ground.store, vm.name, `${vm.name}.ram`)).equals(vm.files[0]!.content)).toBe(
      true,
    );
  });

  test("after CANCEL the session is over for good, and its bytes are gone", async () => {
    const { peer, vm, session } = await ready();
    await peer.send("cancel", {}).expect("cancelled");
    expect(ground.isStaged(session)).toBe(false);
    expect((await peer.offer(vm.offer())).state).toBe("cancelled");
    await peer.send("release", {}).expect("cancelled");
    await peer.send("seal", vm.seal()).expect("cancelled");
    expect(ground.isStaged(session)).toBe(false);
    expect(existsSync(join(ground.store, vm.name))).toBe(false);
  });
});

describe("an older connection of a session", () => {
  test("cannot speak after a newer one has, nor be replayed", async () => {
    const { vm, session } = await accepted();
    const newer = await ground.joined(source, session, 5);
    await newer.offer(vm.offer());
    for (const attempt of [0, 1, 4, 5]) {
      const older = await ground.joined(source, session, attempt);
      expect(await older.send("cancel", {}).error()).toEqual({
        code: "busy",
        message: "a newer connection of this session has spoken already",
      });
    }
    expect(stateOf(session)).toBe("receiving");
    expect(ground.isStaged(session)).toBe(true);
    await newer.send("cancel", {}).expect("cancelled");
  });

  test("is closed by the newer one, and its lanes with the offer", async () => {
    const { peer, session, laneToken, vm } = await accepted();
    const lane = await laneOf(session, laneToken);
    const newer = await ground.joined(source, session, 2);
    const fresh = await newer.offer(vm.offer());
    await peer.ended();
    await lane.ended();
    expect(fresh.laneToken).not.toBe(laneToken);
    const late = await ground.connect({ identity: source });
    late.hello({ role: "lane", session, laneToken });
    expect((await late.error()).code).toBe("policy");
    await newer.send("cancel", {}).expect("cancelled");
  });
});

test("a session that this host has as a source is none that it receives", async () => {
  // The host's own journal holds both kinds; a destination that we send to knows our session's id.
  const session = newSession();
  const journal = Journal.open(ground.home);
  const vm = new RawVm("ours");
  const record = recordOfOffer(session, vm.offer() as never, {
    peer: source.fingerprint,
    address: "127.0.0.1:1",
    attempt: 1,
    store: ground.store,
    nowMs: 1,
    bytes: 1,
    kept: null,
  });
  journal.write("test", () => {
    journal.insert({ ...record, side: "source", state: "sending" });
    journal.step(session, { side: "source", from: "sending", to: "released" });
  });
  await ground.withstands(async () => {
    for (const name of ["release", "confirm", "publish"] as const) {
      const peer = await ground.joined(source, session, 9);
      expect((await peer.send(name, {}).error()).code).toBe("unknown-session");
    }
    const offering = await ground.joined(source, session, 9);
    expect((await offering.sendJson("offer", vm.offer()).error()).code).toBe("unknown-session");
    const asking = await ground.joined(source, session, 9);
    await asking.send("cancel", {}).expect("cancelled");
    expect(await asking.send("query", { session }).expect("state")).toEqual({ session, state: "unknown" });
    const { rows } = await asking.send("list", {}).expect("sessions");
    expect(rows.map((row) => row.session)).not.toContain(session);
  });
  expect(journal.find(session)).toMatchObject({ side: "source", state: "released", attempt: 1 });
  journal.close();
});

test("a list of sessions is as long as the limits say", async () => {
  const peer = await ground.joined(source);
  const { rows } = await peer.send("list", {}).expect("sessions");
  expect(rows.length).toBeLessThanOrEqual(limits.sessionRows);
  expect(rows.length).toBeGreaterThan(0);
});
