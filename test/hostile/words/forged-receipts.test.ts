/** Receipts that are missing, forged, or of something else: nothing is done on the word that came with one. */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { TLSSocket } from "node:tls";
import { fingerprintOf } from "../../../src/channel/certificate.ts";
import { onTheWire, signed } from "../../../src/migration/receipts/signature.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import type { Receipt, Statement } from "../../../src/protocol/receipt.ts";
import {
  emptyOffer,
  PlayedDestination,
  sealOf,
  session,
  type Visit,
} from "../../migration/destination/played-destination.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import { accept, type Visit as SourceVisit } from "../../support/hostile/hostile-destination.ts";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";

let stranger: RawIdentity;
beforeAll(async () => {
  stranger = await makeIdentity();
});

/** What can be wrong with a receipt that would else be good; `by` signs. */
const faults: [what: string, forge: (good: Statement, by: RawIdentity) => Receipt | undefined][] = [
  ["is missing", () => undefined],
  ["is of another session", (good, by) => onTheWire(signed({ ...good, session: "00".repeat(16) }, by))],
  [
    "is for another word",
    (good, by) => onTheWire(signed({ ...good, kind: good.kind === "ready" ? "owned" : "ready" }, by)),
  ],
  ["is of a copy", (good, by) => onTheWire(signed({ ...good, mode: "copy" }, by))],
  [
    "is about other bytes",
    (good, by) => onTheWire(signed({ ...good, digest: `sha256:${"0".repeat(64)}` }, by)),
  ],
  [
    "was given to another host",
    (good, by) => onTheWire(signed({ ...good, other: stranger.fingerprint }, by)),
  ],
  [
    "is told as later than it is",
    (good, by) => ({ ...onTheWire(signed(good, by)), generation: good.generation + 1 }),
  ],
  [
    "has a verdict that was not signed",
    (good, by) => ({ ...onTheWire(signed(good, by)), verdict: "ab".repeat(32) }),
  ],
  ["is signed by another host", (good) => onTheWire(signed(good, stranger))],
  [
    "is signed by another key, beside the right certificate",
    (good, by) => ({
      ...onTheWire(signed(good, stranger)),
      certificate: onTheWire(signed(good, by)).certificate,
    }),
  ],
];

describe("a destination that is told RELEASE", () => {
  let played: PlayedDestination;
  let own: RawIdentity;
  let peer: RawIdentity;
  beforeEach(async () => {
    [own, peer] = [await makeIdentity(), await makeIdentity()];
    played = new PlayedDestination(own);
  });
  afterEach(() => played.close());

  const seal = sealOf(emptyOffer);
  /** Brings it to READY; gives the connection, and what a good RELEASE says. */
  async function ready(attempt: number): Promise<{ visit: Visit; good: Statement }> {
    const visit = await played.visit(attempt, peer.fingerprint, session, { seen: 0 });
    visit.say("offer", { ...emptyOffer, generation: 0 }).say("seal", seal);
    let heard = await visit.hear();
    while (heard.name !== "ready") heard = await visit.hear();
    const { receipt } = heard.body;
    const parties = { signer: peer.fingerprint, other: own.fingerprint };
    const numbers = { generation: 1, seen: receipt!.generation };
    const { digest } = seal;
    return { visit, good: { kind: "release", session, mode: "move", digest, ...parties, ...numbers } };
  }

  // [RCPT-1] [RCPT-2]
  test.each(faults)("with a receipt that %s stays ready, and takes a good one after it", async (_, forge) => {
    const { visit, good } = await ready(1);
    const receipt = forge(good, peer);
    visit.say("release", receipt === undefined ? {} : { receipt });
    expect(await visit.hearNames(1)).toEqual(["error integrity"]);
    expect(played.record).toMatchObject({ state: "ready" });
    expect(played.journal.receipts.find(session, "release")).toBeNull();
    const again = await played.visit(2, peer.fingerprint, session, { seen: 0 });
    again.say("release", { receipt: onTheWire(signed(good, peer)) });
    expect(await again.hearNames(1)).toEqual(["owned"]);
  });

  // [RCPT-3] [RCPT-6]
  test("for an earlier READY than its last one does not own what came since", async () => {
    const { good } = await ready(1);
    const { visit } = await ready(2);
    visit.say("release", { receipt: onTheWire(signed(good, peer)) });
    expect(await visit.hearNames(1)).toEqual(["error integrity"]);
    expect(played.record).toMatchObject({ state: "ready" });
  });

  // [RCPT-2]
  test("without receipts, in a session that began with them, stays ready", async () => {
    await ready(1);
    const visit = await played.visit(2, peer.fingerprint);
    visit.say("release", {});
    expect(await visit.hearNames(1)).toEqual(["error integrity"]);
    expect(played.record).toMatchObject({ state: "ready" });
  });

  // [RCPT-6]
  test("after the session was cancelled keeps neither receipt nor VM", async () => {
    const { visit, good } = await ready(1);
    visit.say("cancel", {}).say("release", { receipt: onTheWire(signed(good, peer)) });
    expect(await visit.hearNames(2)).toEqual(["cancelled", "cancelled"]);
    expect(played.record).toMatchObject({ state: "cancelled" });
    expect(played.journal.receipts.of(session)).toEqual([]);
  });

  // [RCPT-2] [RCPT-4]
  test("gives none where none is asked for, and the same one each time where they are", async () => {
    const { visit, good } = await ready(1);
    const receipt = onTheWire(signed(good, peer));
    visit.say("release", { receipt }).say("release", { receipt });
    const [first, second] = [await visit.hear(), await visit.hear()];
    expect(first).toMatchObject({ name: "owned", body: { receipt: { seen: 1, generation: 2 } } });
    expect(second).toEqual(first);
    const plain = await played.visit(1, "sha256:older", "0b".repeat(16));
    plain.say("offer", { ...emptyOffer, name: "web2" }).say("seal", sealOf({ ...emptyOffer, name: "web2" }));
    await plain.hear();
    expect(await plain.hear()).toMatchObject({ name: "ready", body: { digest: expect.any(String) } });
    expect(played.journal.receipts.of("0b".repeat(16))).toEqual([]);
  });

  // [RCPT-8]
  test("moves nothing for a source that is not as far as it was, or gives receipts no more", async () => {
    const { visit, good } = await ready(1);
    visit.say("release", { receipt: onTheWire(signed({ ...good, generation: 5 }, peer)) });
    expect(await visit.hearNames(1)).toEqual(["owned"]);
    const offer = { ...emptyOffer, name: "web2" };
    const offered = async (id: string, receipts: { seen: number } | null, generation: number) => {
      const later = await played.visit(1, peer.fingerprint, id.repeat(16), receipts);
      later.say("offer", receipts === null ? offer : { ...offer, generation });
      return await later.hearNames(1);
    };
    expect(await offered("a1", { seen: 2 }, 4)).toEqual(["error in-doubt"]);
    expect(await offered("a2", null, 0)).toEqual(["error policy"]);
    // Nor where the source has seen more of this host than its journal knows.
    expect(await offered("a3", { seen: 3 }, 5)).toEqual(["error in-doubt"]);
    expect(await offered("a4", { seen: 2 }, 5)).toEqual(["accept"]);
  });
});

describe("a source that is told", () => {
  let source: TrickedSource;
  testsAttackSource((made) => {
    source = made;
  });

  interface Sealed {
    good: Statement;
    say: (receipt: Receipt | undefined) => { receipt?: Receipt };
  }

  /** An honest destination that gives receipts, up to SEAL. */
  async function sealed(visit: SourceVisit): Promise<Sealed> {
    const { peer, hello } = visit;
    const receipts = { generation: 6, seen: 0 };
    peer.send("welcome", { version: 2, software: "hostile", trusted: true, receipts });
    await peer.expect("offer");
    accept(peer);
    const { digest } = await peer.expect("seal");
    const parties = { signer: source.identity.fingerprint, other: sourceOf(visit) };
    const good: Statement = {
      kind: "ready",
      session: hello.session!,
      mode: "move",
      digest,
      ...parties,
      generation: 7,
      seen: 0,
    };
    return { good, say: (receipt) => (receipt === undefined ? {} : { receipt }) };
  }

  const sourceOf = ({ peer }: SourceVisit) =>
    fingerprintOf((peer.socket as TLSSocket).getPeerCertificate(true).raw);

  // [RCPT-1] [RCPT-2]
  test.each(faults)("READY with a receipt that %s releases nothing", async (_, forge) => {
    const { error, record } = await source.sendTo(async (visit) => {
      const { good, say } = await sealed(visit);
      visit.peer.send("ready", { digest: good.digest, ...say(forge(good, source.identity)) });
      await visit.peer.closed;
    });
    expect(error.code).toBe("integrity");
    expect(record?.state).toBe("sending");
  });

  // [RCPT-1] [RCPT-2] [RCPT-3]
  test.each(faults)("OWNED with a receipt that %s lets go of nothing", async (_, forge) => {
    let released: MessageBody<"release"> | undefined;
    const { record } = await source.sendTo(async (visit) => {
      if (visit.number > 1) return visit.peer.close();
      const { good } = await sealed(visit);
      visit.peer.send("ready", { digest: good.digest, receipt: onTheWire(signed(good, source.identity)) });
      released = await visit.peer.expect("release");
      const owned: Statement = { ...good, kind: "owned", generation: 8, seen: released.receipt!.generation };
      const receipt = forge(owned, source.identity);
      visit.peer.send("owned", receipt === undefined ? {} : { receipt });
      await visit.peer.closed;
    });
    expect(released?.receipt).toMatchObject({ seen: 7 });
    expect(record?.state).toBe("released");
  });

  // [RCPT-8]
  test("that it was further than its journal knows moves nothing, and says so", async () => {
    const { error, record } = await source.sendTo(async ({ peer }) => {
      const receipts = { generation: 6, seen: 3 };
      peer.send("welcome", { version: 2, software: "hostile", trusted: true, receipts });
      await peer.closed;
    });
    expect(error).toMatchObject({ code: "in-doubt", exitCode: 7 });
    expect(error.message).toContain("0 there, 3 seen");
    expect(error.hint).toContain("migrate receipt restored");
    expect(record?.state).toBe("sending");
  });
});
