/** A destination that lies about who owns the VM: the source never gives it up twice, nor takes it back. */
import { describe, expect, test } from "bun:test";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { exitCodes } from "../../../src/protocol/errors.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import { type Script, upToSeal } from "../../support/hostile/hostile-destination.ts";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";
import { sendOnce } from "../../support/moves/sending.ts";

let source: TrickedSource;

testsAttackSource((made) => {
  source = made;
});

describe("in answer to the seal", () => {
  test("READY with another digest is an integrity error, and the source is still the owner", async () => {
    const { error, record } = await source.sendTo(async (visit) => {
      await upToSeal(visit);
      visit.peer.send("ready", { digest: `sha256:${"0".repeat(64)}` });
    });
    expect(error.code).toBe("integrity");
    expect(error.exitCode).toBe(exitCodes.integrity);
    expect(record?.state).toBe("sending");
  });

  // [DIGEST-5]
  test.each([
    ["without a proof", () => undefined],
    ["with a proof of something else", () => "0".repeat(64)],
    ["with the challenge itself", (seal: MessageBody<"seal">) => seal.challenge],
  ])("READY %s is an integrity error, if the destination said that it proves", async (_, proofOf) => {
    const { error, record } = await source.sendTo(async (visit) => {
      const seal = await upToSeal(visit, { proves: true });
      expect(seal.challenge).toMatch(/^[0-9a-f]{64}$/);
      const proof = proofOf(seal);
      visit.peer.send("ready", { digest: seal.digest, ...(proof === undefined ? {} : { proof }) });
      await visit.peer.closed;
    });
    expect(error).toMatchObject({ code: "integrity", exitCode: exitCodes.integrity });
    expect(record?.state).toBe("sending");
  });

  // [DIGEST-5]
  test("a destination that says nothing of proofs, as an older one, is asked for none", async () => {
    await source.sendTo(async (visit) => {
      const seal = await upToSeal(visit);
      expect(seal.challenge).toBeUndefined();
    });
  });

  // [DIGEST-6]
  test.each([
    ["that knows it gets a seal of the UUID as well", { binds: true }, {}],
    ["that says nothing of it, as an older one, gets one of the files alone", {}, undefined],
  ])("a destination %s", async (_, change, bound) => {
    await source.sendTo(async (visit) => {
      const seal = await upToSeal(visit, change);
      expect(seal.bound).toEqual(bound);
      visit.peer.send("ready", { digest: `sha256:${"0".repeat(64)}` });
    });
  });

  test("OWNED before RELEASE is a doubt, and nothing is deleted", async () => {
    const { error, record } = await source.sendTo(async (visit) => {
      await upToSeal(visit);
      visit.peer.send("owned", {});
    });
    expect(error.code).toBe("in-doubt");
    expect(error.exitCode).toBe(exitCodes.inDoubt);
    expect(record?.state).toBe("sending");
  });

  test.each(["published", "closed", "paired", "inventoryEnd"] as const)(
    "%s ends the send, and the VM stays",
    async (name) =>
      source.expectOwner(
        async (visit) => {
          await upToSeal(visit);
          visit.peer.send(name, {});
        },
        "protocol",
        /./,
      ),
  );

  test("silence is a lost link", async () => {
    const { error, record } = await source.sendTo(
      async (visit) => {
        await upToSeal(visit);
        await visit.peer.closed;
      },
      { timing: { pingMs: 50, silenceMs: 1_000 } },
    );
    expect(error.code).toBe("network");
    expect(record?.state).toBe("sending");
  });
});

describe("after RELEASE", () => {
  /** Brings the source to RELEASE the first time, and `then` from there; afterwards goes on with `again`. */
  const released =
    (then: Script, again: Script = then): Script =>
    async (visit) => {
      const { peer } = visit;
      if (visit.number === 1) {
        const { digest } = await upToSeal(visit);
        peer.send("ready", { digest });
      } else {
        peer.send("welcome", { version: 2, software: "x", trusted: true });
      }
      await peer.expect("release");
      await (visit.number === 1 ? then : again)(visit);
    };
  test.each([
    ["PUBLISHED", async ({ peer }) => void peer.send("published", {})],
    ["CLOSED before OWNED", async ({ peer }) => void peer.send("closed", {})],
    ["READY once more", async ({ peer }) => void peer.send("ready", { digest: `sha256:${"0".repeat(64)}` })],
    ["an error", async ({ peer }) => void peer.send("error", { code: "bug", message: "an internal error" })],
    [
      "no word of the session",
      async ({ peer }) => void peer.send("error", { code: "unknown-session", message: "what?" }),
    ],
    ["nothing more", async ({ peer }) => peer.close()],
  ] as [string, Script][])(
    "%s leaves a doubt: nobody runs the VM, and every file is there",
    async (_what, then) => {
      const { error, record } = await source.sendTo(released(then), {
        timing: { pingMs: 50, silenceMs: 1_000 },
      });
      expect(error.code).toBe("in-doubt");
      expect(error.exitCode).toBe(exitCodes.inDoubt);
      expect(error.message).toContain("was released and the destination has not said that it owns it");
      expect(error.hint).toContain("migrate resolve");
      expect(record?.state).toBe("released");
    },
  );

  test("another host, with a ticket of its own, cannot say what became of the VM", async () => {
    const { record, home } = await source.sendTo(released(async ({ peer }) => peer.close()));
    expect(record?.state).toBe("released");
    let asked = 0;
    const liar = await source.openDestination({
      identity: await makeIdentity(),
      control: async ({ peer }) => {
        asked++;
        peer.send("welcome", { version: 2, software: "x", trusted: true });
        await peer.expect("release");
        peer.send("cancelled", {});
      },
    });
    const journal = Journal.open(home);
    journal.write("test", () =>
      journal.update(record!.session, { address: `127.0.0.1:${liar.address.port}` }),
    );
    const vm = { folder: record!.folder! };
    for (const how of [{ ticket: liar.ticket }, { secure: true }, { secure: false }]) {
      const { error } = await sendOnce({ home, vm, address: liar.address, retryForMs: 300, ...how });
      expect(["wrong-identity", "in-doubt"]).toContain(error!.code);
      expect(journal.find(record!.session)).toMatchObject({
        state: "released",
        peer: source.identity.fingerprint,
      });
    }
    journal.close();
    expect(asked).toBe(0);
  });
});
