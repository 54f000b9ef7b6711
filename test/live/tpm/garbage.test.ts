/** A TPM that answers garbage: 100,000 answers, random or real ones that were changed, in the place of each real one. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { makeCredential } from "../../../src/attestation/credential/make-credential.ts";
import { HostTpm, openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { connectSocket } from "../../../src/attestation/tpm/socket-connection.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { type Chip, startChip } from "../../support/tpm/chip.ts";
import { countIn, raiseIn } from "../../support/tpm/counter.ts";
import { ReplayedTpm, recording } from "../../support/tpm/recorded-tpm.ts";

let home: string;
let chip: Chip;
eachTestInFolder("garbage-", async (folder) => {
  home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  chip = await startChip(folder, { certified: true });
});

const garbageCount = 100_000;
/** Hardly any patience: a TPM that says "again" has said it within that. */
const patience = { forOthersMs: 3, commandMs: 3, makingMs: 3 };

type Work = (tpm: HostTpm) => Promise<unknown>;

test("gives a MigrateError tpm-unusable or a value, and leaves no key and no session behind", async () => {
  const random = seeded("garbage of a TPM");
  const selection = { bank: "sha256", registers: [0, 1, 2, 3, 4, 5, 6, 7, 14] } as const;
  const { ekPublic, akName } = await (await open()).keys();
  const { credentialBlob, encryptedSecret } = makeCredential(ekPublic, akName, Buffer.alloc(32));
  const hostKey = await (await open()).makeHostKey({ bank: "sha256", registers: [7] });
  const works: Work[] = [
    (tpm) => tpm.keys(),
    (tpm) => tpm.quote(selection, Buffer.alloc(32)),
    (tpm) => tpm.activate(credentialBlob, encryptedSecret),
    (tpm) => tpm.makeHostKey({ bank: "sha256", registers: [7] }),
    (tpm) => tpm.openHostKey(hostKey),
    (tpm) => raiseIn(tpm),
    (tpm) => countIn(tpm),
  ];
  const recorded = await Promise.all(works.map(async (work) => ({ work, answers: await record(work) })));

  const codes = new Map<string, number>();
  const count = (code: string) => codes.set(code, (codes.get(code) ?? 0) + 1);
  const keptBefore = readFileSync(join(home, "tpm/ak"), "utf8");
  const startedAtMs = performance.now();
  let garbled = 0;
  for (let round = 0; garbled < garbageCount; round++) {
    const { work, answers } = recorded[round % recorded.length]!;
    const from = random.below(answers.length);
    const replayed = new ReplayedTpm(answers, from, garbageBy(random));
    const connect = async () => replayed;
    try {
      await work(new HostTpm(home, { connect, patience, isAlone: random.chance(0.5) }));
      count("a value");
    } catch (thrown) {
      if (!(thrown instanceof MigrateError)) throw thrown;
      count(thrown.code);
    }
    if (!replayed.isBroken) expect([...replayed.held]).toEqual([]);
    expect(replayed.isClosed).toBe(true);
    garbled += replayed.garbled;
  }
  console.log(
    `garbage of a TPM: ${garbled} answers, ${Math.round(performance.now() - startedAtMs)} ms`,
    codes,
  );
  expect([...codes.keys()].sort()).toEqual(["a value", "tpm-unusable"]);
  expect(readFileSync(join(home, "tpm/ak"), "utf8")).toBe(keptBefore);
  expect(process.memoryUsage.rss()).toBeLessThan(1024 ** 3);
}, 180_000);

test("makes no attestation key of what is garbage", async () => {
  const random = seeded("garbage for a first key");
  const answers = await record((tpm) => tpm.quote({ bank: "sha256", registers: [7] }, Buffer.alloc(32)));
  const other = join(home, "other");
  mkdirSync(other, { mode: 0o700 });
  for (let round = 0; round < 1000; round++) {
    const connect = async () => new ReplayedTpm(answers, 0, () => random.bytes(random.below(200)));
    const tpm = new HostTpm(other, { connect, patience, isAlone: true });
    await tpm.keys().then(
      () => expect("nothing").toBe("thrown"),
      (thrown: unknown) => expect(thrown).toBeInstanceOf(MigrateError),
    );
  }
  expect(await Bun.file(join(other, "tpm/ak")).exists()).toBe(false);
});

const open = () => openHostTpm({ home, env: { MIGRATE_TPM: chip.place } });

/** What the chip answers to that, flushes left out. */
async function record(work: Work): Promise<Buffer[]> {
  const answers: Buffer[] = [];
  const connect = async () => recording(await connectSocket(chip.socket, 5000), answers);
  const usual = { forOthersMs: 20_000, commandMs: 20_000, makingMs: 20_000 };
  await work(new HostTpm(home, { connect, patience: usual, isAlone: true }));
  return answers;
}

/** One kind of garbage for a whole conversation. */
function garbageBy(random: SeededRandom): (answer: Buffer) => Buffer {
  const framed = (body: Buffer, code = 0) => {
    const head = Buffer.alloc(10);
    head.writeUInt16BE(random.pick([0x8001, 0x8002, 0]));
    head.writeUInt32BE(10 + body.length, 2);
    head.writeUInt32BE(code, 6);
    return Buffer.concat([head, body]);
  };
  const kinds: ((answer: Buffer) => Buffer)[] = [
    () => random.bytes(random.below(200)),
    () => framed(random.bytes(random.below(300))),
    () => framed(Buffer.alloc(random.below(300), random.below(256))),
    () => framed(Buffer.alloc(0), random.below(0x1000)),
    (answer) => answer.subarray(0, random.below(answer.length)),
    // Cut, with a length that says so.
    (answer) => framed(answer.subarray(10, 10 + random.below(answer.length - 9))),
    (answer) => {
      const changed = Buffer.from(answer);
      for (let changes = 1 + random.below(3); changes > 0; changes--)
        changed[10 + random.below(Math.max(1, changed.length - 10))] = random.below(256);
      return changed;
    },
    (answer) => framed(Buffer.concat([answer.subarray(10), random.bytes(random.below(20))])),
  ];
  return random.pick(kinds);
}
