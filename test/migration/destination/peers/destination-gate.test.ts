/** What a source may say before it has proven itself, where that is demanded: nothing of a VM [ATT-5] [ATT-7]. */
import { expect, test } from "bun:test";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { writePolicy } from "../../../../src/attestation/policy/policy-file.ts";
import { TrustFile } from "../../../../src/channel/trust.ts";
import type { Asker } from "../../../../src/migration/destination/peers/asker.ts";
import {
  type Attesting,
  DestinationGate,
} from "../../../../src/migration/destination/peers/destination-gate.ts";
import { Journal } from "../../../../src/migration/journal/journal.ts";
import { policyOf, readSeen } from "../../../../src/migration/proofs/seen.ts";
import type { Message } from "../../../../src/protocol/messages.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";
import { PlayedProver } from "../../../support/tpm/played-prover.ts";

let home: string;
eachTestInFolder("destination-gate", (folder) => {
  home = folder;
});

const [source, own] = [`sha256:${"aa".repeat(32)}`, `sha256:${"bb".repeat(32)}`];
const session = "00112233445566778899aabbccddeeff";
const greeted = { exporter: Buffer.alloc(32, 0xe1), session, attempt: 1 };
const say = (name: Message["name"]) => ({ name, body: {} }) as Message;

function gateOf(attesting: Partial<Attesting>, peer = source) {
  const journal = Journal.open(home);
  const played = new PlayedProver(
    { role: "source", exporter: greeted.exporter, prover: source, verifier: own, session, attempt: 1 },
    { 0: "00".repeat(32), 7: "77".repeat(32) },
  );
  const said: string[] = [];
  const link = {
    send: (name: never, body: never) => {
      if (["challenge", "enrol", "fetch", "activate"].includes(name)) played.send(name, body);
      else said.push(name);
    },
    expect: (name: never) => played.expect(name),
    fail: () => {},
  };
  const asker = { link, peer, remote: "192.0.2.9" } as unknown as Asker;
  const gate = new DestinationGate(asker, greeted, {
    ...{ home, journal, observe: () => {}, now: Date.now },
    attesting: { proves: false, demands: false, env: {}, ...attesting },
    trust: () => TrustFile.load(home),
    identity: peer === "insecure" ? null : ({ fingerprint: own, certificatePem: "" } as never),
  });
  const { state, tpm } = played;
  const enrolment = {
    ekPublic: Buffer.alloc(1),
    akPublic: tpm.akPublic,
    certificate: null,
    isHostKeyThere: false,
  };
  const accept = () =>
    writePolicy(
      home,
      policyOf(
        { enrolment, state },
        { host: source, name: "hosta", version: 1, writtenBy: "root", writtenAtMs: 0, registers: [0, 7] },
      ),
    );
  return { gate, said, played, accept, journal };
}

const refusal = expect.objectContaining({ code: "attestation", side: "destination" });

test("where nothing is demanded everything may be said, and no TPM is touched", async () => {
  const { gate, played } = gateOf({});
  for (const name of ["offer", "ask", "start", "seal", "release", "query"] as const) gate.require(name);
  expect(await gate.answer(say("query"))).toBe(false);
  expect(await gate.answer(say("challenge")).catch((thrown) => thrown)).toEqual(refusal);
  expect(played.asked).toEqual([]);
});

test("where it is demanded, nothing that tells of a VM may come before a proof, and START and SEAL need one each", async () => {
  const { gate, said, accept } = gateOf({ demands: true });
  accept();
  for (const name of ["offer", "ask", "start", "seal"] as const)
    expect(() => gate.require(name)).toThrow(refusal);
  // What ends something tells of nothing.
  for (const name of ["query", "list", "cancel", "release", "confirm"] as const) gate.require(name);
  const prove = async () => expect(await gate.answer(say("attest"))).toBe(true);
  await prove();
  gate.require("offer");
  expect(() => gate.require("start")).toThrow(refusal);
  gate.require("offer");
  await prove();
  gate.require("start");
  expect(() => gate.require("seal")).toThrow(refusal);
  expect(() => gate.require("start")).toThrow(refusal);
  await prove();
  gate.require("seal");
  expect(() => gate.require("seal")).toThrow(refusal);
  expect(said).toEqual(["verdict", "verdict", "verdict"]);
  expect(gate.verdict).toMatch(/^[0-9a-f]{64}$/);
});

test("a source whose line in the trust file says so has to prove itself, whatever serve was given", async () => {
  const file = TrustFile.load(home);
  await file.add(source, "source", "hosta", undefined, { attest: "required" });
  expect(() => gateOf({}).gate.require("offer")).toThrow(refusal);
});

test("a proof that does not hold opens nothing", async () => {
  const { gate, said, accept, played } = gateOf({ demands: true });
  accept();
  played.binding = { ...played.binding, attempt: 2 };
  expect(await gate.answer(say("attest")).catch((thrown) => thrown)).toMatchObject({ code: "attestation" });
  expect(() => gate.require("offer")).toThrow(refusal);
  expect(said).toEqual([]);
});

test("a policy that cannot be read opens nothing, and is this host's own affair", async () => {
  const { gate, accept, said } = gateOf({ demands: true });
  accept();
  const path = join(home, "attest", `${"aa".repeat(32)}.policy`);
  appendFileSync(path, "nonsense\n");
  const error = await gate.answer(say("attest")).catch((thrown) => thrown);
  expect(error).toEqual(refusal);
  expect(error.message).not.toContain(home);
  expect(() => gate.require("offer")).toThrow(refusal);
  expect(said).toEqual([]);
});

test("without authentication no proof is taken or given", async () => {
  const { gate } = gateOf({ demands: true, proves: true }, "insecure");
  expect(() => gate.require("offer")).toThrow(refusal);
  for (const name of ["attest", "challenge"] as const)
    expect(await gate.answer(say(name)).catch((thrown) => thrown)).toEqual(refusal);
  expect(readSeen(home, source)).toBeNull();
});
