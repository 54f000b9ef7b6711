/** What a destination says of a VM, in lines. */
import { expect, test } from "bun:test";
import { thereText } from "../../../src/commands/explain/tell-there.ts";
import type { DryRun } from "../../../src/migration/source/dry-run.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";

const mebibyte = 2 ** 20;
const answer = {
  refused: [],
  room: { neededBytes: 3 * mebibyte, freeBytes: 9 * mebibyte, promisedBytes: 0 },
};
const there = { peer: "sha256:x", software: "migrate/0.1.0", answer, refusals: [], changes: [] };
const run: DryRun = {
  name: "web1",
  bytes: 4 * mebibyte,
  cost: { filesBytes: 3 * mebibyte, disksBytes: 0, ramBytes: 0 },
  notes: [],
  there,
};

test("a VM of files needs room and a name, and nothing else is said", () => {
  expect(thereText(run, "hostb")).toEqual([
    "",
    "At hostb (migrate/0.1.0):",
    "  name           web1 is free",
    "  store          3.0 MiB needed, 9.0 MiB free",
    "  to send        3.0 MiB of files",
    "  there already  nothing that is known of",
  ]);
});

test("of one that runs all is said that is known", () => {
  const full = {
    ...answer,
    room: { ...answer.room, promisedBytes: mebibyte },
    memory: { neededBytes: 128 * mebibyte, freeBytes: 256 * mebibyte },
    processors: { needed: 2, there: 8 },
    machine: "pc-q35-7.2",
    accelerator: "kvm" as const,
    qemu: { major: 9, minor: 2 },
    cpu: "host,-avx512f",
    firmware: "vm" as const,
    tpm: true,
    cards: ["none", "user", "bridge"] as ("none" | "user" | "bridge")[],
    index: true,
  };
  const cost = { filesBytes: 0, disksBytes: mebibyte, ramBytes: 128 * mebibyte };
  const text = thereText({ ...run, cost, there: { ...there, answer: full } }, "hostb").join("\n");
  for (const line of [
    "9.0 MiB free, of which 1.0 MiB are promised to others",
    "memory         128.0 MiB needed, 256.0 MiB free",
    "processors     2 needed, 8 there",
    "machine        pc-q35-7.2",
    "runs with      KVM, QEMU 9.2",
    "processor      host,-avx512f",
    "firmware       comes with the VM",
    "TPM            swtpm is there",
    "card 0         nothing behind it",
    "card 1         QEMU's user network",
    "card 2         a bridge",
    "to send        1.0 MiB of disks, at most 128.0 MiB of RAM, and again what the guest writes meanwhile",
    "there already  not known before it is sent: the store is searched meanwhile",
  ])
    expect(text).toContain(line);
});

test("what is there already is an estimate, but for a move that was begun", () => {
  const last = (more: object) =>
    thereText({ ...run, there: { ...there, answer: { ...answer, ...more } } }, "b").at(-1);
  expect(last({ baseBytes: mebibyte, index: true })).toContain("at most 1.0 MiB");
  expect(last({ baseBytes: mebibyte })).toEndWith("(an estimate)");
  expect(last({ heldBytes: 2 * mebibyte, baseBytes: mebibyte })).toContain(
    "2.0 MiB of this move, which was begun before",
  );
});

test("a name that is taken is told beside the refusal, and without a destination only what would be sent", () => {
  const taken = { ...there, refusals: [new MigrateError("name-taken", "x")] };
  expect(thereText({ ...run, there: taken }, "hostb")).toContain("  name           web1 is taken");
  expect(thereText({ ...run, there: null }, "")).toEqual(["", "To send: 3.0 MiB of files"]);
});
