/** A verifier asks, and believes nothing that was not signed for it [ATT-2] [ATT-4]. */
import { describe, expect, test } from "bun:test";
import { Verifier } from "../../src/attestation/verifier.ts";
import { limits } from "../../src/protocol/limits.ts";
import { PlayedProver } from "../support/tpm/played-prover.ts";

const binding = {
  role: "destination",
  exporter: Buffer.alloc(32, 0xe1),
  prover: `sha256:${"aa".repeat(32)}`,
  verifier: `sha256:${"bb".repeat(32)}`,
  session: "00112233445566778899aabbccddeeff",
  attempt: 1,
} as const;
const registers = { 0: "00".repeat(32), 7: "77".repeat(32), 10: "10".repeat(32) };
const selection = { bank: "sha256", registers: [0, 7] } as const;

function playing() {
  const prover = new PlayedProver(binding, registers);
  const question = { selection, policyDigest: "dd".repeat(32), akPublic: prover.tpm.akPublic, events: false };
  return { prover, question, verifier: new Verifier(prover, binding) };
}

test("each proof is asked for with a nonce of its own", async () => {
  const { prover, question, verifier } = playing();
  const proofs = [await verifier.prove(question), await verifier.prove(question)];
  expect(proofs[0]!.nonce).not.toBe(proofs[1]!.nonce);
  expect(prover.asked).toMatchObject(
    proofs.map(({ nonce }) => ({ name: "challenge", body: { nonce, registers: [0, 7], events: false } })),
  );
  expect(proofs[0]!.state).toMatchObject({ eventLog: null, imaLog: null, clock: { resetCount: 3 } });
});

test("a quote that was right for an earlier question is refused", async () => {
  const { prover, question, verifier } = playing();
  const earlier: unknown[] = [];
  prover.twist = (answer) => {
    earlier.push(answer);
    return earlier[0] as typeof answer;
  };
  await verifier.prove(question);
  expect(await verifier.prove(question).catch((thrown) => thrown)).toMatchObject({ code: "attestation" });
});

describe("refused is the quote", () => {
  const others = {
    "of another session": { session: "ff".repeat(16) },
    "of another attempt": { attempt: 2 },
    "of the other role": { role: "source" as const },
    "of another connection": { exporter: Buffer.alloc(32, 0xe2) },
    "for another verifier": { verifier: `sha256:${"cc".repeat(32)}` },
    "of another host": { prover: `sha256:${"cc".repeat(32)}` },
  };
  for (const [what, change] of Object.entries(others))
    test(what, async () => {
      const { prover, question, verifier } = playing();
      prover.binding = { ...binding, ...change };
      expect(await verifier.prove(question).catch((thrown) => thrown)).toMatchObject({
        code: "attestation",
        message: expect.stringContaining("another connection, session or question"),
      });
    });

  test("for another policy", async () => {
    const { prover, question, verifier } = playing();
    const send = prover.send.bind(prover);
    prover.send = (name, body) => send(name, { ...body, policy: "de".repeat(32) } as never);
    expect(await verifier.prove(question).catch((thrown) => thrown)).toMatchObject({ code: "attestation" });
  });
});

describe("logs", () => {
  const log = Buffer.alloc(2 * limits.logPieceBytes + 17, 0x4c);

  test("come piece by piece, from the byte that was asked for on", async () => {
    const { prover, question, verifier } = playing();
    prover.state = { ...prover.state, eventLog: log, imaLog: log };
    const { state } = await verifier.prove({ ...question, events: true, imaFrom: limits.logPieceBytes });
    expect(state.eventLog!.equals(log)).toBe(true);
    expect(state.imaLog!.equals(log.subarray(limits.logPieceBytes))).toBe(true);
    expect(prover.asked.slice(1).map(({ body }) => body)).toEqual([
      ...[0, 1, 2].map((piece) => ({ log: "events" as const, from: piece * limits.logPieceBytes })),
      ...[1, 2].map((piece) => ({ log: "ima" as const, from: piece * limits.logPieceBytes })),
    ]);
  });

  test("are not fetched from who has shown no right quote", async () => {
    const { prover, question, verifier } = playing();
    prover.state = { ...prover.state, eventLog: log };
    prover.binding = { ...binding, attempt: 9 };
    await verifier.prove({ ...question, events: true }).catch(() => {});
    expect(prover.asked.map(({ name }) => name)).toEqual(["challenge"]);
  });

  for (const [what, change] of [
    ["shorter", (bytes: Buffer) => bytes.subarray(1)],
    ["longer", (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(1)])],
    ["empty", () => Buffer.alloc(0)],
  ] as const)
    test(`of which a piece is ${what} than it has to be end it`, async () => {
      const { prover, question, verifier } = playing();
      prover.state = { ...prover.state, eventLog: log };
      prover.twist = (answer) =>
        answer.name === "log"
          ? {
              name: "log",
              body: { bytes: change(Buffer.from(answer.body.bytes, "base64")).toString("base64") },
            }
          : answer;
      expect(await verifier.prove({ ...question, events: true }).catch((thrown) => thrown)).toMatchObject({
        code: "protocol",
      });
      expect(prover.asked.length).toBe(2);
    });
});

test("a proof has its time in all, however quickly each part of it comes", async () => {
  const { prover, question, verifier } = playing();
  prover.state = { ...prover.state, eventLog: Buffer.alloc(20 * limits.logPieceBytes) };
  const failed = Promise.withResolvers<unknown>();
  prover.fail = failed.resolve;
  const answers = prover.expect.bind(prover);
  prover.expect = async (...names) => {
    await Bun.sleep(20);
    return await answers(...names);
  };
  const proving = verifier.prove({ ...question, events: true, withinMs: 100 });
  expect(await failed.promise).toMatchObject({ code: "attestation", message: "no proof came within 0.1 s" });
  await proving.catch(() => {});
  expect(prover.asked.length).toBeGreaterThan(1);
});
