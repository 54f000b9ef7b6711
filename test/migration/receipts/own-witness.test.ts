/** The journal and its witness, held against each other: by the file of a home, and by a counter that is played. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHome } from "../../../src/home/home.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { FileCounter, type GenerationCounter } from "../../../src/migration/receipts/generation.ts";
import { OwnWitness } from "../../../src/migration/receipts/own-witness.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";

let home: string;
let journal: Journal;
beforeEach(() => {
  home = openHome(mkdtempSync(join(tmpdir(), "migrate-witness-")));
  journal = Journal.open(home);
});
afterEach(() => {
  journal.close();
  rmSync(home, { recursive: true, force: true });
});

class PlayedCounter implements GenerationCounter {
  stands = 0n;
  read = async () => this.stands;
  increment = async () => ++this.stands;
}

const put = (generation: number, witness: number, tpm: number | null = null) =>
  journal.write("test", ({ receipts }) => receipts.setOwn({ generation, witness, tpm }));
const record = ({ witness, tpm }: { witness: number; tpm: number | null }) => {
  const generation = journal.receipts.own().generation + 1;
  put(generation, witness, tpm);
  return generation;
};

const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "fine",
    (thrown: MigrateError) => thrown.code,
  );

// [RCPT-8]
test("grow together, and several processes get numbers of their own", async () => {
  const witnesses = Array.from({ length: 4 }, () => new OwnWitness({ home, journal }));
  const numbers = await Promise.all(witnesses.map((witness) => witness.next("source", record)));
  expect(numbers.sort()).toEqual([1, 2, 3, 4]);
  expect(Number(readFileSync(join(home, "generation"), "utf8"))).toBe(4);
  // What has been recorded already raises nothing.
  expect(await witnesses[0]!.next("source", () => null)).toBeNull();
  expect(Number(readFileSync(join(home, "generation"), "utf8"))).toBe(4);
});

// [RCPT-8]
test("are in step again after a death between the two, and a restored journal is noticed after it", async () => {
  const witness = new OwnWitness({ home, journal });
  await witness.next("source", record);
  put(2, 2);
  await witness.require("source");
  await witness.next("source", record);
  expect(journal.receipts.own()).toEqual({ generation: 3, witness: 3, tpm: null });
  put(2, 1);
  expect(await codeOf(witness.require("source"))).toBe("in-doubt");
  expect(await codeOf(witness.next("source", record))).toBe("in-doubt");
  expect(journal.receipts.own().generation).toBe(2);
});

// [RCPT-8]
test("are in step after the counter was made anew", async () => {
  const counter = new PlayedCounter();
  const witness = new OwnWitness({ home, journal, counter });
  for (let i = 0; i < 3; i++) await witness.next("source", record);
  counter.stands = 0n;
  await witness.next("source", record);
  expect(journal.receipts.own()).toEqual({ generation: 4, witness: 1, tpm: null });
});

test("a witness that cannot be raised stops no handover, and is raised by the next one", async () => {
  const counter = new PlayedCounter();
  const witness = new OwnWitness({ home, journal, counter });
  counter.increment = async () => {
    throw new MigrateError("home-unusable", "the disk is full");
  };
  expect(await witness.next("source", record)).toBe(1);
  counter.increment = async () => ++counter.stands;
  expect(await witness.next("source", record)).toBe(2);
  expect(journal.receipts.own()).toEqual({ generation: 2, witness: 2, tpm: null });
});

describe("a person who has looked", () => {
  // [RCPT-8]
  test("has it go on beyond what the witness counted, and what peers have seen", async () => {
    const witness = new OwnWitness({ home, journal });
    for (let i = 0; i < 5; i++) await witness.next("source", record);
    put(2, 2);
    expect(await witness.settle()).toBe(5);
    await witness.require("source");
    journal.write("test", ({ receipts }) => receipts.noteClaim("sha256:peer", 9));
    expect(await witness.settle()).toBe(9);
    expect(await codeOf(witness.settle())).toBe("policy");
  });

  test("is not led to a number that no host reaches", async () => {
    const witness = new OwnWitness({ home, journal });
    journal.write("test", ({ receipts }) => receipts.noteClaim("sha256:liar", Number.MAX_SAFE_INTEGER));
    expect(await codeOf(witness.settle())).toBe("policy");
    expect(journal.receipts.own().generation).toBe(0);
  });
});

test("a file that holds no number, or is open to others, is said so", async () => {
  writeFileSync(join(home, "generation"), "many\n", { mode: 0o600 });
  expect(await codeOf(new FileCounter(home).read())).toBe("home-unusable");
  const path = join(home, "generation");
  for (const [text, next] of [
    ["", 1n],
    ["9\n", 10n],
    ["0000000000000000099\n", 100n],
  ] as const) {
    rmSync(path);
    writeFileSync(path, text, { mode: 0o600 });
    expect(await new FileCounter(home).increment()).toBe(next);
    expect(await new FileCounter(home).read()).toBe(next);
  }
  chmodSync(path, 0o666);
  expect(await codeOf(new FileCounter(home).read())).toBe("home-unusable");
});
