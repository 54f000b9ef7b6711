/** What the other host of a connection has to prove, held against this host's policy for it, and kept [ATT-2] [ATT-6]. */
import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Binding } from "../../../src/attestation/evidence/binding.ts";
import { checkEvidence, evidenceDigest } from "../../../src/attestation/evidence/evidence-file.ts";
import type { Policy } from "../../../src/attestation/policy/policy.ts";
import { writePolicy } from "../../../src/attestation/policy/policy-file.ts";
import { recordPolicy } from "../../../src/attestation/policy/record.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { PeerProofs } from "../../../src/migration/proofs/peer-proofs.ts";
import type { MigrationEvent } from "../../../src/migration/report/events.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { PlayedProver } from "../../support/tpm/played-prover.ts";

let home: string;
eachTestInFolder("peer-proofs", (folder) => {
  home = folder;
});

const [prover, verifier] = [`sha256:${"aa".repeat(32)}`, `sha256:${"bb".repeat(32)}`];
const session = "00112233445566778899aabbccddeeff";
const binding: Binding = {
  ...{
    role: "destination" as const,
    exporter: Buffer.alloc(32, 0xe1),
    prover,
    verifier,
    session,
    attempt: 3,
  },
};
const registers = { 0: "00".repeat(32), 4: "44".repeat(32), 7: "77".repeat(32) };

interface Playing {
  played: PlayedProver;
  proofs: PeerProofs;
  journal: Journal;
  events: MigrationEvent[];
  policy: Policy;
}

async function playing(work: (at: Playing) => Promise<void>): Promise<void> {
  const journal = Journal.open(home);
  try {
    const played = new PlayedProver(binding, registers);
    const events: MigrationEvent[] = [];
    const observe = (event: MigrationEvent) => void events.push(event);
    const policy = recordPolicy(
      played.state,
      {
        ...{ host: prover, name: "hostb", version: 2, writtenBy: "root@hosta" },
        writtenAt: "2026-11-30T22:00:00Z",
        endorsementKey: { digest: "ee".repeat(32), certificate: null },
        ...{ attestationKey: played.tpm.akPublic, tlsKeyInTpm: false },
      },
      { registers: [0, 4, 7], byEvents: [] },
    );
    const proofs = new PeerProofs(played, binding, { home, journal, observe, now: () => 1_764_540_000_000 });
    await work({ played, proofs, journal, events, policy });
  } finally {
    journal.close();
  }
}

const failure = (promise: Promise<unknown>) => promise.then(() => undefined).catch((thrown) => thrown);

test("a state as it was recorded is accepted, said, and kept so that it can be checked again", () =>
  playing(async ({ proofs, journal, events, policy }) => {
    writePolicy(home, policy);
    await proofs.require("offer", "web1");
    await proofs.require("release", "web1");
    expect(events).toMatchObject(
      ["offer", "release"].map((moment) => ({
        event: "attested",
        name: "web1",
        peer: prover,
        moment,
        policy: 2,
      })),
    );
    // The last one of a VM that stands still is kept once it does not wait for it.
    expect(journal.verdictsOf(session)).toMatchObject([{ moment: "offer" }]);
    const { digest } = proofs;
    proofs.keep();
    proofs.keep();
    const [verdict, ...more] = journal.verdictsOf(session);
    expect(more).toEqual([]);
    expect(verdict).toMatchObject({
      session,
      role: "destination",
      peer: prover,
      moment: "release",
      policyVersion: 2,
    });
    expect(verdict!.file).toBe(join(home, "attest", "evidence", `${session}-3-destination.json`));
    expect(statSync(verdict!.file).mode & 0o777).toBe(0o600);
    expect(statSync(join(home, "attest")).mode & 0o777).toBe(0o700);
    const text = readFileSync(verdict!.file, "utf8");
    expect(verdict!.digest).toBe(evidenceDigest(text));
    expect(verdict!.digest).toBe(digest!);
    const { judgements } = checkEvidence(text, verdict!.file);
    expect(judgements.map(({ allowed }) => allowed)).toEqual([true, true]);
  }));

test("another state is refused in words, and what was shown is kept", () =>
  playing(async ({ played, proofs, journal, policy }) => {
    writePolicy(home, policy);
    played.state = { ...played.state, registers: new Map([...played.state.registers, [7, "78".repeat(32)]]) };
    const error = await failure(proofs.require("offer", "web1"));
    expect(error).toMatchObject({ code: "attestation", message: expect.stringMatching(/Register 7/) });
    const { judgements } = checkEvidence(readFileSync(journal.verdictsOf(session)[0]!.file, "utf8"), "e");
    expect(judgements[0]!.allowed).toBe(false);
  }));

test("a register that changes between OFFER and RELEASE is refused", () =>
  playing(async ({ played, proofs, policy }) => {
    writePolicy(home, policy);
    await proofs.require("offer", "web1");
    played.state = { ...played.state, registers: new Map([...played.state.registers, [4, "45".repeat(32)]]) };
    expect(await failure(proofs.require("release", "web1"))).toMatchObject({ code: "attestation" });
  }));

test("a TPM that was reset, or whose host slept, between two proofs is refused", () =>
  playing(async ({ played, proofs, journal, policy }) => {
    writePolicy(home, policy);
    await proofs.require("offer", "web1");
    expect(journal.verdictsOf(session)).toMatchObject([{ allowed: true }]);
    const { clock } = played.state;
    for (const change of [{ resetCount: 4 }, { restartCount: 1 }, { clockMs: 1 }]) {
      played.state = { ...played.state, clock: { ...clock, ...change } };
      expect(await failure(proofs.require("start", "web1"))).toMatchObject({ code: "attestation" });
      // What was proven before does not stand for it.
      const [verdict] = journal.verdictsOf(session);
      expect(verdict).toMatchObject({ allowed: false, moment: "start" });
      expect(() => checkEvidence(readFileSync(verdict!.file, "utf8"), "e")).toThrow(
        expect.objectContaining({ code: "attestation" }),
      );
    }
  }));

test("a host without a policy is refused before anything is asked of it", () =>
  playing(async ({ played, proofs }) => {
    expect(await failure(proofs.require("offer", "web1"))).toMatchObject({
      code: "attestation",
      hint: expect.stringContaining("migrate attest record"),
    });
    expect(played.asked).toEqual([]);
  }));

test("a policy that is older than one in use before is refused", () =>
  playing(async ({ played, proofs, journal, policy }) => {
    writePolicy(home, policy);
    await proofs.require("offer", "web1");
    writePolicy(home, { ...policy, version: 1 });
    const later = new PeerProofs(played, binding, { home, journal, observe: () => {}, now: Date.now });
    expect(await failure(later.require("offer", "web1"))).toMatchObject({
      code: "attestation",
      message: expect.stringMatching(/version 1, and version 2 was in use/),
    });
  }));

test("a policy that is changed in the middle of a move ends it", () =>
  playing(async ({ proofs, policy }) => {
    writePolicy(home, policy);
    await proofs.require("offer", "web1");
    writePolicy(home, { ...policy, version: 3 });
    expect(await failure(proofs.require("release", "web1"))).toMatchObject({
      code: "attestation",
      message: expect.stringContaining("was changed"),
    });
  }));

test("of what is about no session nothing stays", () =>
  playing(async ({ played, journal, policy }) => {
    writePolicy(home, policy);
    const none = { ...binding, session: "", attempt: 0 };
    played.binding = none;
    const proofs = new PeerProofs(played, none, { home, journal, observe: () => {}, now: Date.now });
    await proofs.require("offer", "web1");
    expect(() => statSync(join(home, "attest", "evidence"))).toThrow();
    expect(journal.verdictsOf("")).toEqual([]);
  }));
