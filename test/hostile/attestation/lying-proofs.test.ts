/** A destination that lies about what it runs: the source tells it nothing of a VM, and keeps the VM. */
import { describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { limits } from "../../../src/protocol/limits.ts";
import type { ProofChange } from "../../support/attestation/made-up-platform.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { ProvingDestination } from "../../support/hostile/proving-destination.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";

let source: TrickedSource;

testsAttackSource((made) => {
  source = made;
});

// Without this the other tests could refuse for any reason. [ATT-5]
test("a destination that tells the truth is asked before OFFER and before RELEASE, and gets the VM", async () => {
  const there = new ProvingDestination(source);
  const moments: string[] = [];
  const asked = source.sendTo(
    there.honest(() => {
      moments.push(there.heard.filter((name) => name !== "challenge" && name !== "fetch").at(-1) ?? "hello");
      return {};
    }),
    { attests: true, prepare: there.prepare, filesMayChange: true },
  );
  // `sendTo` expects that nothing is done.
  expect(await asked.then(() => "kept").catch(() => "done")).toBe("done");
  expect(moments).toEqual(["hello", "seal"]);
  expect(there.heard).toEqual(["challenge", "offer", "seal", "challenge", "release", "confirm"]);
  // [ATT-2]
  expect(new Set(there.challenges.map(({ nonce }) => nonce)).size).toBe(2);
});

const elsewhere = /was made for another connection, session or question/;
const notAsked = /is not over the registers that were asked for/;
const sha256 = (registers: number[]) => ({ bank: "sha256" as const, registers });

// [ATT-2] [ATT-3]
const lies: [string, ProofChange, RegExp][] = [
  ["of another connection", { binding: { exporter: Buffer.alloc(32, 9) } }, elsewhere],
  ["of another session", { binding: { session: "ab".repeat(16) } }, elsewhere],
  ["of no session", { binding: { session: "", attempt: 0 } }, elsewhere],
  ["of another attempt", { binding: { attempt: 2 } }, elsewhere],
  ["of the other role", { binding: { role: "source" } }, elsewhere],
  ["to another verifier", { binding: { verifier: `sha256:${"1".repeat(64)}` } }, elsewhere],
  ["of another host", { binding: { prover: `sha256:${"2".repeat(64)}` } }, elsewhere],
  ["for another nonce", { nonce: "3".repeat(64) }, elsewhere],
  ["for another policy", { policy: "4".repeat(64) }, elsewhere],
  ["over fewer registers", { selections: [sha256([0, 4])] }, notAsked],
  ["over other registers", { selections: [sha256([0, 4, 8])] }, notAsked],
  ["over more registers", { selections: [sha256([0, 4, 7, 8])] }, notAsked],
  ["over another bank", { selections: [{ bank: "sha384", registers: [0, 4, 7] }] }, notAsked],
  ["over two banks", { selections: [sha256([0, 4, 7]), { bank: "sha384", registers: [0] }] }, notAsked],
  ["over a bank without registers", { selections: [sha256([])] }, notAsked],
  ["over no bank", { selections: [] }, notAsked],
  ["of what no TPM made", { magic: 0x54434721 }, /no TPM has made it/],
  ["that certifies a time", { type: 0x8019 }, /neither a quote nor the certification of a key/],
  ["by another key", { key: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey }, /not signed/],
  [
    "with other values beside it",
    { said: { values: ["11", "00", "00"].map((b) => b.repeat(32)) } },
    /values/,
  ],
  ["with fewer values beside it", { said: { values: ["00".repeat(32)] } }, /values/],
  [
    "of another state",
    { registers: { 7: "77".repeat(32) } },
    /not in the state that was recorded.*Register 7/,
  ],
];

describe("a quote", () => {
  test.each(lies)("%s is refused before the VM is told of", async (_, change, message) => {
    const there = new ProvingDestination(source);
    await there.expectUntold(
      there.honest(() => change),
      message,
    );
    expect(there.challenges.length).toBe(1);
  });

  test("of the first moment that is shown again before RELEASE is refused, and the VM stays", async () => {
    const there = new ProvingDestination(source);
    let first: { nonce: string } | undefined;
    await source.expectOwner(
      there.honest((_, asked) => {
        first ??= asked;
        return { nonce: first.nonce };
      }),
      "attestation",
      elsewhere,
      { attests: true, prepare: there.prepare },
    );
    expect(there.heard.at(-1)).not.toBe("release");
    expect(there.heard).not.toContain("release");
  });

  // [ATT-6]
  test.each([
    ["another state", { registers: { 4: "44".repeat(32) } }, /not in the state that was recorded/],
    ["that its TPM was reset", { clock: { resetCount: 8 } }, /was reset between two proofs/],
    ["that it was suspended", { clock: { restartCount: 3 } }, /was reset between two proofs/],
    ["an earlier time", { clock: { clockMs: 1 } }, /has gone back/],
  ] satisfies [string, ProofChange, RegExp][])(
    "before RELEASE that shows %s leaves the VM here",
    async (_, change, message) => {
      const there = new ProvingDestination(source);
      const { error, record } = await source.sendTo(
        there.honest((number) => (number === 1 ? {} : change)),
        { attests: true, prepare: there.prepare },
      );
      expect(error).toMatchObject({ code: "attestation", message: expect.stringMatching(message) });
      expect(record?.state).toBe("sending");
      expect(there.heard).toContain("seal");
      expect(there.heard).not.toContain("release");
    },
  );
});

describe("a destination that forgets to prove itself", () => {
  test("in its WELCOME is not even asked", async () => {
    const there = new ProvingDestination(source);
    await there.expectUntold(async (visit) => {
      there.welcome(visit, { attests: false });
      await there.next(visit);
    }, "the destination does not prove what it runs");
    expect(there.said).toEqual([]);
  });

  test.each(["accept", "started", "ready", "owned", "verdict", "evidence"] as const)(
    "and says %s in place of its proof is told nothing",
    async (name) => {
      const there = new ProvingDestination(source);
      await there.expectUntold(
        async (visit) => {
          there.welcome(visit);
          await there.next(visit);
          visit.peer.sendJson(name, {});
          await there.next(visit);
        },
        /./,
        { code: "protocol" },
      );
      expect(there.said).toEqual(["challenge"]);
    },
  );

  // [ATT-5]
  test("after READY is not released to", async () => {
    const there = new ProvingDestination(source);
    const honest = there.honest();
    const { error, record } = await source.sendTo(
      async (visit) => {
        const { send } = visit.peer;
        visit.peer.send = (name, body) =>
          there.challenges.length > 1
            ? visit.peer.sendJson("owned", {})
            : send.call(visit.peer, name, body as never);
        await honest(visit);
      },
      { attests: true, prepare: there.prepare },
    );
    expect(error.code).toBe("protocol");
    expect(record?.state).toBe("sending");
    expect(there.heard).not.toContain("release");
  });

  test("after READY, and lives on in silence, is not waited for", async () => {
    const there = new ProvingDestination(source);
    const honest = there.honest();
    const { error, record } = await source.sendTo(
      async (visit) => {
        const { send } = visit.peer;
        const life = setInterval(() => send.call(visit.peer, "ping", {}), 200);
        void visit.peer.closed.then(() => clearInterval(life));
        visit.peer.send = (name, body) =>
          name === "evidence" && there.challenges.length > 1
            ? visit.peer
            : send.call(visit.peer, name, body as never);
        await honest(visit);
        await visit.peer.closed;
      },
      { attests: true, prepare: there.prepare },
    );
    expect(error).toMatchObject({
      code: "attestation",
      message: expect.stringMatching(/no proof came within/),
    });
    expect(record?.state).toBe("sending");
    expect(there.heard).not.toContain("release");
  }, 45_000);

  // [ATT-7]
  test("and has no identity either is not believed anything", async () => {
    const heard: string[] = [];
    const destination = await source.openDestination({
      identity: null,
      control: async ({ peer }) => {
        peer.send("welcome", { version: limits.version, software: "x", trusted: true, attests: true });
        for (;;) heard.push((await peer.next()).name!);
      },
    });
    const { error } = await source.sendTo(async () => {}, {
      ...{ attests: true, address: destination.address, ticket: undefined },
    });
    expect(error.code).toBe("attestation");
    expect(error.message).toBe("an insecure connection proves nothing: anybody may be at its other end");
    expect(heard).not.toContain("offer");
  });

  test("and is one that nobody has recorded is told nothing", async () => {
    const there = new ProvingDestination(source);
    await there.expectUntold(there.honest(), /this host has no policy for sha256:[0-9a-f]{64}/, {
      prepare: () => {},
    });
    expect(there.challenges).toEqual([]);
  });
});

test("a host that was recorded does not stand in for another", async () => {
  const there = new ProvingDestination(source);
  const { fingerprint } = await makeIdentity();
  await there.expectUntold(there.honest(), /has no policy/, {
    prepare: (home) => there.platform.recordIn(home, fingerprint),
  });
});
