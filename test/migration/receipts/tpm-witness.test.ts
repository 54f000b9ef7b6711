/** The journal held against a counter as a TPM has one: behind, ahead, absent, and one that fails. */
import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rc } from "../../../src/attestation/tpm/response-code.ts";
import { openHome } from "../../../src/home/home.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import type { OwnGeneration } from "../../../src/migration/journal/receipt-table.ts";
import { OwnWitness } from "../../../src/migration/receipts/own-witness.ts";
import { type Counting, TpmWitness } from "../../../src/migration/receipts/tpm-witness.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { rejectionOf } from "../../support/system/refusals.ts";
import { playTpm, refusing } from "../../support/tpm/played-tpm.ts";

let home: string;
let journal: Journal;
/** A chip that is played: where its counter stands, and how often it was talked to. */
let chip: { stands: number | null; conversations: number; opens: boolean; raises: boolean };
let said: string[];
beforeEach(() => {
  home = openHome(mkdtempSync(join(tmpdir(), "migrate-tpm-witness-")));
  journal = Journal.open(home);
  chip = { stands: null, conversations: 0, opens: true, raises: true };
  said = [];
});
afterEach(() => {
  journal.close();
  rmSync(home, { recursive: true, force: true });
});

const unusable = () => new MigrateError("tpm-unusable", "The TPM says nothing.");

const counting: Counting = async (work) => {
  chip.conversations++;
  if (!chip.opens) throw unusable();
  return await work({
    stands: chip.stands,
    async raise() {
      if (!chip.raises) throw unusable();
      // After a clear it begins above what there was.
      chip.stands = (chip.stands ?? 4710) + 1;
      return chip.stands;
    },
  });
};

function attesting(mayBegin = true): OwnWitness {
  const observe = ({ event, message }: { event: string; message: string }) =>
    said.push(`${event}: ${message}`);
  return new OwnWitness({
    ...{ home, journal },
    tpm: new TpmWitness({ home, journal, observe, mayBegin, counting }),
  });
}
const other = () => new OwnWitness({ home, journal });

const put = (own: OwnGeneration) => journal.write("test", ({ receipts }) => receipts.setOwn(own));
const record = (witnesses: Pick<OwnGeneration, "witness" | "tpm">) => {
  const generation = journal.receipts.own().generation + 1;
  put({ generation, ...witnesses });
  return generation;
};

/** Puts journal and file back as they were, as from a copy of the whole home. */
function setBack({ generation, witness, tpm }: OwnGeneration): void {
  rmSync(join(home, "generation"));
  put({ generation, witness, tpm });
}

async function doubtOf(work: Promise<unknown>): Promise<string> {
  const thrown = await rejectionOf(work);
  expect(thrown.code).toBe("in-doubt");
  return thrown.message;
}

// [RCPT-8]
test("grows with the generation, in one conversation a word, and is begun once with a notice", async () => {
  const witness = attesting();
  await witness.require("source");
  expect(said).toEqual([expect.stringMatching(/^notice: this host's TPM counts/)]);
  expect(chip.conversations).toBe(1);
  await witness.next("source", record);
  expect(chip).toMatchObject({ stands: 4712, conversations: 2 });
  expect(journal.receipts.own()).toEqual({ generation: 1, witness: 1, tpm: 4712 });
  expect(readFileSync(join(home, "generation"), "utf8")).toBe(`${"1".padStart(19, "0")}\n`);
  // What has been recorded already raises nothing.
  await witness.next("source", () => null);
  expect(chip.stands).toBe(4712);
  expect(said).toHaveLength(1);
});

// [RCPT-8]
test("is left alone by what does not attest, and is in step after that", async () => {
  await attesting().next("source", record);
  await other().next("source", record);
  expect(chip).toMatchObject({ stands: 4712, conversations: 1 });
  expect(journal.receipts.own()).toEqual({ generation: 2, witness: 2, tpm: 4712 });
  await attesting().require("source");
});

test("is not begun by who only asks, nor does that say anything", async () => {
  await attesting(false).require("source");
  await attesting(false).next("source", record);
  expect(chip.stands).toBeNull();
  expect(journal.receipts.own().tpm).toBeNull();
  expect(said).toEqual([]);
});

describe("a home that is set back as a whole", () => {
  // [RCPT-8]
  test("is noticed, and by the TPM alone; a person settles it", async () => {
    const witness = attesting();
    await witness.next("destination", record);
    const before = journal.receipts.own();
    for (let i = 0; i < 3; i++) await witness.next("destination", record);
    setBack(before);
    await other().require("destination");
    const text = "the destination's journal is older than the counter in its TPM: it was restored";
    expect(await doubtOf(witness.require("destination"))).toBe(text);
    expect(await doubtOf(witness.next("destination", record))).toBe(text);
    expect(journal.receipts.own().generation).toBe(1);
    expect(await attesting(false).settle()).toBe(4);
    await witness.require("destination");
    expect((await rejectionOf(attesting(false).settle())).code).toBe("policy");
  });

  // [RCPT-8]
  test("to before the TPM was counted for it is noticed as well", async () => {
    await attesting().next("source", record);
    setBack({ generation: 0, witness: 0, tpm: null });
    journal.close();
    rmSync(join(home, "journal.sqlite"));
    journal = Journal.open(home);
    expect(await doubtOf(attesting().require("source"))).toContain("the counter in its TPM");
    await attesting(false).settle();
    await attesting().next("source", record);
  });

  // [RCPT-8]
  test("with a TPM that was cleared, or is another one, does not pass for a new host", async () => {
    const witness = attesting();
    for (let i = 0; i < 3; i++) await witness.next("source", record);
    const before = journal.receipts.own();
    for (const stands of [null, 7]) {
      setBack(before);
      chip.stands = stands;
      const text = "the source's TPM does not have the count that its journal knows";
      expect(await doubtOf(witness.require("source"))).toStartWith(text);
      expect(await doubtOf(witness.next("source", record))).toStartWith(text);
      await attesting(false).settle();
      await witness.next("source", record);
      expect(journal.receipts.own().tpm).toBe(chip.stands);
      // What another one counts from is no generation.
      expect(journal.receipts.own().generation).toBeLessThan(8);
    }
  });
});

describe("a process that dies", () => {
  test("between the record and the TPM leaves them in step", async () => {
    const witness = attesting();
    await witness.next("source", record);
    put({ generation: 2, witness: 1, tpm: chip.stands! + 1 });
    await witness.next("source", record);
    expect(journal.receipts.own()).toMatchObject({ generation: 3, tpm: chip.stands });
  });

  test.each([null, 4711])(
    "in the middle of the first count leaves it to the next one (%p)",
    async (stands) => {
      put({ generation: 0, witness: 0, tpm: 0 });
      chip.stands = stands;
      await attesting().next("source", record);
      expect(chip.stands).toBe(4712);
      expect(journal.receipts.own().tpm).toBe(4712);
    },
  );
});

describe("a TPM that fails", () => {
  test("stops no handover, is said once, and no guest waits for it twice", async () => {
    const witness = attesting();
    chip.opens = false;
    await witness.require("source");
    expect(await witness.next("source", record)).toBe(1);
    expect(chip.conversations).toBe(1);
    expect(said).toEqual([expect.stringMatching(/^warning: The TPM does not count .*says nothing\.$/)]);
    expect(journal.receipts.own().tpm).toBeNull();
    // What is no failure of the TPM is not taken for one.
    chip.opens = true;
    const full = new Error("SQLITE_FULL");
    const failing = attesting().next("source", () => {
      throw full;
    });
    expect(await failing.catch((thrown: unknown) => thrown)).toBe(full);
  });

  test("by its slowness at every command stops no handover, nor those that wait for their turn", async () => {
    mkdirSync(join(home, "tpm"), { mode: 0o700 });
    const key = `unique ${"11".repeat(32)}\nname 000b${"22".repeat(32)}\n`;
    writeFileSync(join(home, "tpm/ak"), key, { mode: 0o600 });
    const realNow = performance.now.bind(performance);
    let spentMs = 0;
    const clock = spyOn(performance, "now").mockImplementation(() => realNow() + spentMs);
    const played = playTpm(join(home, "s"), (socket, command) => {
      spentMs += 2900;
      // There is no such counter yet; all else is done.
      socket.write(refusing(command.readUInt32BE(6) === 0x169 ? rc.handle : 0));
    });
    try {
      const env = { MIGRATE_TPM: played.place };
      const observe = ({ message }: { message: string }) => said.push(message);
      const words = Array.from({ length: 4 }, () => {
        const tpm = new TpmWitness({ home, journal, env, observe });
        return new OwnWitness({ home, journal, tpm }).next("source", record);
      });
      expect((await Promise.all(words)).sort()).toEqual([1, 2, 3, 4]);
      // Two commands each, and the TPM is left alone.
      expect(played.commands.length).toBe(8);
      expect(said).toEqual(Array(4).fill(expect.stringContaining("it has not done its part within 5 s.")));
    } finally {
      clock.mockRestore();
      played.stop();
    }
  });

  test("while it is raised is in step when it is back", async () => {
    await attesting().next("source", record);
    chip.raises = false;
    for (let i = 0; i < 2; i++) expect(await attesting().next("source", record)).toBe(2 + i);
    expect(journal.receipts.own()).toMatchObject({ generation: 3, tpm: 4713 });
    expect(chip.stands).toBe(4712);
    chip.raises = true;
    await attesting().next("source", record);
    expect(journal.receipts.own()).toMatchObject({ generation: 4, tpm: 4713 });
    expect(chip.stands).toBe(4713);
  });
});
