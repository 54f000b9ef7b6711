/** What stands before OFFER at a source, by what a person said, by the trust file, and by how the session began [ATT-5] [ATT-7] [ATT-8]. */
import { expect, test } from "bun:test";
import type { SourceLink } from "../../../../src/channel/known-destination.ts";
import { TrustFile } from "../../../../src/channel/trust.ts";
import { Journal } from "../../../../src/migration/journal/journal.ts";
import { type GateOptions, SourceGate } from "../../../../src/migration/source/gate/source-gate.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

let home: string;
eachTestInFolder("source-gate", (folder) => {
  home = folder;
});

const [own, peer] = [`sha256:${"aa".repeat(32)}`, `sha256:${"bb".repeat(32)}`];
const session = "00112233445566778899aabbccddeeff";

/** Returns what was said to the destination, and the error that the gate ends with. */
async function passed(
  link: Partial<SourceLink>,
  { isReleased = false, ...options }: Partial<GateOptions> & { isReleased?: boolean } = {},
  prepare: (journal: Journal) => void = () => {},
) {
  const journal = Journal.open(home);
  prepare(journal);
  const said: string[] = [];
  const opened = {
    ...{ peer, attests: true, demands: false, exporter: Buffer.alloc(32), ...link },
    link: {
      send: (name: string) => void said.push(name),
      expect: () => Promise.reject(new Error("no answer")),
      receive: () => Promise.reject(new Error("no answer")),
      fail: () => {},
    },
  } as unknown as SourceLink;
  const identity = { fingerprint: own, certificatePem: "" } as GateOptions["identity"];
  try {
    const all = { home, journal, identity, observe: () => {}, now: Date.now, ...options };
    await new SourceGate(opened, { session, attempt: 2, name: "web1", isReleased }, all).before("offer");
    return { said, error: undefined };
  } catch (error) {
    return { said, error: error as Error & { code?: string; hint?: string } };
  } finally {
    journal.close();
  }
}

const began = (role: "source" | "destination") => (journal: Journal) =>
  journal.write("verdict", () =>
    journal.keepVerdict({
      ...{ session, role, peer, moment: "offer", policyVersion: 1, allowed: true, digest: "00".repeat(32) },
      ...{ file: "/nowhere", bytes: 1, atMs: 1 },
    }),
  );

test("where nobody asks for proofs nothing is said of them", async () => {
  expect(await passed({})).toEqual({ said: [], error: undefined });
  expect(await passed({}, {}, began("source"))).toEqual({ said: [], error: undefined });
});

test("with --attest, with attest=required in the trust file, and in a session that began with proofs, a host without a policy gets nothing", async () => {
  const refused = {
    said: [],
    error: { code: "attestation", hint: expect.stringContaining("attest record") },
  };
  expect(await passed({}, { attests: true })).toMatchObject(refused);
  expect(await passed({}, {}, began("destination"))).toMatchObject(refused);
});

test("attest=required in the trust file asks as --attest does", async () => {
  await TrustFile.load(home).add(peer, "destination", "192.0.2.7:7600", undefined, { attest: "required" });
  expect(await passed({})).toMatchObject({ said: [], error: { code: "attestation" } });
});

test("a session for which a proof was asked once goes on so, though none ever came", async () => {
  expect(await passed({ attests: false }, { attests: true })).toMatchObject({
    error: { code: "attestation" },
  });
  expect(await passed({})).toMatchObject({ said: [], error: { code: "attestation" } });
});

test("a destination that does not prove anything gets nothing", async () => {
  expect(await passed({ attests: false }, { attests: true })).toMatchObject({
    said: [],
    error: { code: "attestation", message: "the destination does not prove what it runs" },
  });
});

test("this host's TPM is asked only if a person said so", async () => {
  const { said, error } = await passed({ demands: true });
  expect(said).toEqual([]);
  expect(error).toMatchObject({ code: "attestation", hint: expect.stringContaining("--prove") });
  expect(await passed({ demands: true }, { proves: true })).toMatchObject({ said: ["attest"] });
});

test("what was released ends without a proof of this host: nothing is offered any more", async () => {
  expect(await passed({ demands: true }, { isReleased: true })).toEqual({ said: [], error: undefined });
});

test("an insecure connection excludes proofs", async () => {
  for (const [link, options] of [
    [{ peer: "insecure" }, { attests: true }],
    [{ peer: "insecure", demands: true }, {}],
  ] as const)
    expect(await passed(link, { ...options, identity: null })).toMatchObject({
      said: [],
      error: { code: "attestation", hint: expect.stringContaining("--insecure") },
    });
});
