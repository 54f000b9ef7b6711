/** What a peer may make a destination's TPM do: so much, in its order, and nobody else waits for it. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { chipOfHonest, recordChip } from "../../support/hostile/proving-source.ts";
import type { RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";
import { killChildren } from "../../support/system/child.ts";

let ground: HostileGround;
let source: RawIdentity;

/** Of the one chip, which the destination and the honest source have: outside of what is compared. */
const folder = mkdtempSync(join(tmpdir(), "migrate-chip-"));
const env = { MIGRATE_TPM: `swtpm:${join(folder, "s")}` };

testsAttackDestination({ attesting: { proves: true, demands: false, env } }, async (made) => {
  ground = made;
  await chipOfHonest(ground, folder);
  await recordChip(ground.sourceHome, ground.home, env);
  ground.honest = { attests: true };
  source = await ground.trustedSource();
});

afterAll(async () => {
  await killChildren();
  rmSync(folder, { recursive: true, force: true });
});

const challenge: MessageBody<"challenge"> = {
  ...{ nonce: "1".repeat(64), policy: "2".repeat(64), bank: "sha256", registers: [0, 7], events: false },
};
const nothingSuch = { code: "protocol", message: "there is no such log" };
const unasked = { code: "protocol", message: "a credential came unasked" };
const garbage = { credentialBlob: "AAAA", encryptedSecret: "AAAA" };

// [ATT-9]
describe("a peer that is not let in", () => {
  test.each(["enrol", "challenge", "attest"] as const)("gets no answer to %s", async (name) => {
    await ground.withstands(async () => {
      const peer = await ground.connect({ identity: await makeIdentity() });
      expect((await peer.hello().expect("welcome")).trusted).toBe(false);
      peer.sendJson(name, { enrol: { nonce: "1".repeat(64) }, challenge, attest: {} }[name]);
      expect((await peer.error()).code).toBe("protocol");
      await peer.ended();
    });
  });
});

describe("a question out of its order", () => {
  const orders: [string, (peer: RawPeer) => unknown, { code: string; message: string }][] = [
    ["FETCH before a proof", (peer) => peer.send("fetch", { log: "events", from: 0 }), nothingSuch],
    [
      "FETCH of a log that was not asked for",
      async (peer) => {
        await peer.send("challenge", challenge).expect("evidence");
        peer.send("fetch", { log: "ima", from: 0 });
      },
      nothingSuch,
    ],
    ["ACTIVATE without ENROL", (peer) => peer.send("activate", garbage), unasked],
  ];
  test.each(orders)("(%s) ends the connection", async (_, ask, refusal) => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      await ask(peer);
      expect(await peer.error()).toEqual(refusal);
      await peer.ended();
    });
  });

  test("(ACTIVATE a second time, with a credential of another TPM's) tells nothing of this host", async () => {
    const peer = await ground.joined(source);
    await peer.send("enrol", { nonce: "3".repeat(64) }).expect("enrolled");
    peer.send("activate", garbage);
    const { code, message } = await peer.error();
    expect(code).toMatch(/^(?:attestation|tpm-unusable|protocol)$/);
    expect(message).not.toContain("/");
    await peer.ended();
  });

  test.each([
    ["no register", { registers: [] }],
    ["a register that no TPM has", { registers: [24] }],
    ["a register twice", { registers: [7, 7] }],
    ["an unknown bank", { bank: "sha1" }],
    ["a nonce of another length", { nonce: "1".repeat(62) }],
    ["a list from beyond its end", { imaFrom: 2 ** 40 }],
  ])("(CHALLENGE over %s) ends the connection", async (_, change) => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      peer.sendJson("challenge", { ...challenge, ...change });
      expect((await peer.error()).code).toBe("protocol");
      await peer.ended();
    });
  });
});

// [ATT-9]
describe("a flood", () => {
  test("of challenges on many connections waits for its turn, and an honest source does not wait for it", async () => {
    const peers: RawPeer[] = [];
    for (let i = 0; i < 8; i++) peers.push(await ground.joined(source));
    for (const peer of peers) for (let i = 0; i < 30; i++) peer.send("challenge", challenge);
    await Promise.all(peers.slice(0, 1).map((peer) => peer.expect("evidence")));
    const begunMs = performance.now();
    // With a proof by the same TPM before OFFER, and one before RELEASE.
    await ground.expectServing();
    const tookMs = performance.now() - begunMs;
    expect(tookMs).toBeLessThan(5_000);
    // Two seconds' worth at once, at 40 ms each, and then a quarter of each second.
    const answered = peers.flatMap(({ frames }) => frames).filter(({ name }) => name === "evidence").length;
    expect(answered).toBeLessThan(50 + 10 + (tookMs / 1000) * 6.25);
    for (const peer of peers) peer.close();
  });

  test("that sends more than can wait is cut off", async () => {
    await ground.withstands(async () => {
      const peer = await ground.joined(source);
      for (let i = 0; i < 2000; i++) peer.send("enrol", { nonce: "4".repeat(64) });
      expect((await peer.error()).code).toBe("protocol");
      await peer.ended();
      expect(peer.frames.filter(({ name }) => name === "enrolled").length).toBeLessThan(33);
    });
  });

  test("that waits for each answer is over after 32 of them", async () => {
    // Each costs the source a part of its second: a fresh one has more at first.
    const peer = await ground.joined(await ground.trustedSource());
    for (let i = 0; i < 32; i++) await peer.send("challenge", challenge).expect("evidence");
    peer.send("challenge", challenge);
    expect(await peer.error()).toEqual({ code: "protocol", message: "too many proofs were asked for" });
    await peer.ended();
  });
});

test("a TPM that is gone is told of without its place, to the peer; its own people hear which it is", async () => {
  const none = join(folder, "none");
  const serving = await ground.another({
    attesting: { proves: true, demands: false, env: { MIGRATE_TPM: `swtpm:${none}` } },
  });
  const peer = await ground.connect({ identity: source, port: serving.address.port });
  await peer.join();
  peer.send("challenge", challenge);
  expect(await peer.error()).toEqual({
    code: "tpm-unusable",
    message: "its TPM cannot be used",
  });
  await ground.hasTold(none, serving);
  await serving.stop();
});

test("a destination that does not prove anything answers nothing of this", async () => {
  const serving = await ground.another();
  for (const ask of [
    (peer: RawPeer) => peer.send("challenge", challenge),
    (peer: RawPeer) => peer.send("enrol", { nonce: "1".repeat(64) }),
  ]) {
    const peer = await ground.connect({ identity: source, port: serving.address.port });
    const welcome = await peer.hello().expect("welcome");
    expect([welcome.attests, welcome.demands]).toEqual([undefined, undefined]);
    ask(peer);
    expect(await peer.error()).toEqual({
      code: "attestation",
      message: "the destination does not prove what it runs",
    });
  }
  await serving.stop();
});
