/** Lanes that are not let in, what may not be said on them, and bytes that come too late to count. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { laneOf, offeredRam, openLaneOf, type RawSession } from "../../support/hostile/raw/session.ts";

const { pageBytes } = limits;

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination({}, async (made) => {
  ground = made;
  source = await ground.trustedSource();
});

const lane = (begun: Pick<RawSession, "session" | "laneToken">, identity = source) =>
  laneOf(ground, identity, begun);
const begin = (bytes?: number) => offeredRam(ground, source, bytes);
const openLane = (begun: RawSession) => openLaneOf(ground, source, begun);

const refused = { code: "policy", message: "this lane belongs to no session that is being received" };

describe("a lane is not let in", () => {
  test("with a wrong token", async () => {
    const begun = await begin();
    await ground.withstands(async () => {
      for (const laneToken of ["0".repeat(32), begun.vm.tagKey, begun.session]) {
        const peer = await lane({ session: begun.session, laneToken });
        expect(await peer.error()).toEqual(refused);
        await peer.ended();
      }
    });
  });

  test("with another session's token", async () => {
    const [one, other] = [await begin(), await begin()];
    const peer = await lane({ session: one.session, laneToken: other.laneToken });
    expect(await peer.error()).toEqual(refused);
  });

  test("once the VM is sealed, or cancelled", async () => {
    const begun = await begin();
    const open = await openLane(begun);
    for (const frame of begun.vm.chunks()) open.sendBytes(frame);
    expect((await open.next()).name).toBe("ack");
    begun.peer.send("seal", begun.vm.seal());
    await begun.peer.expect("ready");
    expect(await (await lane(begun)).error()).toEqual(refused);
    await begun.peer.send("cancel", {}).expect("cancelled");
    expect(await (await lane(begun)).error()).toEqual(refused);
  });

  test("once its control connection is gone", async () => {
    const begun = await begin();
    const open = await openLane(begun);
    begun.peer.close();
    await open.ended();
    expect(await (await lane(begun)).error()).toEqual(refused);
  });

  test("beyond the sixteenth", async () => {
    const begun = await begin();
    for (let i = 0; i < limits.lanes; i++) await openLane(begun);
    const one = await lane(begun);
    expect(await one.error()).toEqual({ code: "limit", message: "a session has at most 16 lanes" });
    await ground.expectServing();
  });

  test("before which it sends", async () => {
    const begun = await begin();
    const peer = await ground.connect({ identity: source });
    const { session, laneToken } = begun;
    const hello = JSON.stringify({ version: 2, role: "lane", software: "x", session, laneToken });
    const frame = Buffer.from(`\0\0\0\0\u0001${hello}`);
    frame.writeUInt32BE(hello.length, 0);
    peer.sendBytes(Buffer.concat([frame, ...begun.vm.chunks()]));
    expect(await peer.error()).toEqual({ code: "protocol", message: "a chunk frame is not expected here" });
    expect(readFileSync(begun.path).equals(Buffer.alloc(3 * pageBytes + 100))).toBe(true);
  });
});

describe("on a lane a source cannot", () => {
  test.each([
    "hello",
    "welcome",
    "pair",
    "offer",
    "seal",
    "release",
    "cancel",
    "query",
    "inventory",
    "ack",
  ] as const)("say %s", async (name) => {
    const open = await openLane(await begin());
    await ground.withstands(async () => {
      expect(await open.sendFrame(name, Buffer.alloc(8)).error()).toEqual({
        code: "protocol",
        message: `a ${name} frame is not expected here`,
      });
    });
  });
});

describe("bytes that come late", () => {
  test("change nothing after READY: the lanes that were open are closed by the seal", async () => {
    const begun = await begin();
    const { vm, peer, path } = begun;
    const lanes = [await openLane(begun), await openLane(begun), await openLane(begun)];
    for (const frame of vm.chunks()) lanes[0]!.sendBytes(frame);
    expect((await lanes[0]!.next()).name).toBe("ack");
    peer.send("seal", vm.seal());
    await peer.expect("ready");
    const other = vm.chunk(randomBytes(3 * pageBytes + 100));
    for (const open of lanes) open.sendBytes(other);
    for (const open of lanes) await open.ended();
    expect(readFileSync(path).equals(vm.files[0]!.content)).toBe(true);
    await peer.send("release", {}).expect("owned");
    expect(readFileSync(join(ground.store, vm.name, "ram")).equals(vm.files[0]!.content)).toBe(true);
  });

  test("never make READY a lie, however the seal and the chunks fall", async () => {
    let readies = 0;
    for (let round = 0; round < 12; round++) {
      const begun = await begin(64 * pageBytes);
      const { vm, peer, path } = begun;
      const wrong = vm.chunk(randomBytes(64 * pageBytes));
      const [one, other] = [await openLane(begun), await openLane(begun)];
      // Wrong bytes before, between and behind the right ones and the seal; in every third round behind alone.
      const early = round % 3 === 0;
      const amid = round % 3 !== 2;
      if (early) for (let i = 0; i < 4; i++) other.sendBytes(wrong);
      one.sendBytes(vm.chunks()[0]!);
      expect((await one.next()).name).toBe("ack");
      if (early) for (let i = 0; i < 4; i++) other.sendBytes(wrong);
      peer.send("seal", vm.seal());
      if (amid) for (let i = 0; i < 8; i++) (i % 2 ? one : other).sendBytes(wrong);
      const answer = await peer.next();
      expect(["ready", "error"]).toContain(answer.name!);
      if (answer.name !== "ready") continue;
      readies++;
      for (const open of [one, other]) open.sendBytes(wrong);
      for (const open of [one, other]) await open.ended();
      expect(readFileSync(path).equals(vm.files[0]!.content)).toBe(true);
    }
    expect(readies).toBeGreaterThanOrEqual(4);
  });

  test("that differ from what came before are found by the seal, since the disk is read again", async () => {
    const begun = await begin(8 * pageBytes);
    const { vm, peer, path } = begun;
    const open = await openLane(begun);
    // All pages first, then one page and zeros: what is on the disk afterwards is what was sent last.
    const last = Buffer.alloc(8 * pageBytes);
    randomBytes(pageBytes).copy(last, 0);
    open.sendBytes(vm.chunks()[0]!);
    expect((await open.next()).name).toBe("ack");
    open.sendBytes(vm.chunk(last));
    expect((await open.next()).name).toBe("ack");
    peer.send("seal", vm.seal([last]));
    const answer = await peer.next();
    if (answer.name === "ready") expect(readFileSync(path).equals(last)).toBe(true);
    else expect(answer.payload.toString()).toContain('"code":"integrity"');
  });
});
