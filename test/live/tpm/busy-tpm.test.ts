/** Many who want one TPM behind a socket at once: each gets its turn. */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { type Chip, startChip } from "../../support/tpm/chip.ts";

let home: string;
let chip: Chip;
eachTestInFolder("tpm-turns-", async (folder) => {
  home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  chip = await startChip(folder);
});

const usual = { forOthersMs: 10_000, commandMs: 10_000, makingMs: 10_000 };
const hasty = { ...usual, forOthersMs: 300 };
const quote = async (patience = usual) => {
  const tpm = await openHostTpm({ home, env: { MIGRATE_TPM: chip.place }, patience });
  return await tpm.quote({ bank: "sha256", registers: [7] }, Buffer.alloc(32));
};

test("sixteen at once are answered, one after the other", async () => {
  expect((await Promise.all(Array.from({ length: 16 }, () => quote()))).length).toBe(16);
});

test("of a TPM that says nothing each is told so in its own time, and the next ones after them too", async () => {
  chip.swtpm.signal("SIGSTOP");
  const said = () => quote(hasty).catch((thrown: Error) => thrown.message);
  const silence = "This host's TPM has given no answer within 0.3 s.";
  expect(await Promise.all(Array.from({ length: 4 }, said))).toEqual(Array(4).fill(silence));
  expect(await said()).toBe(silence);
  chip.swtpm.signal("SIGCONT");
  expect(await quote()).toMatchObject({ registers: new Map([[7, "00".repeat(32)]]) });
});

test("a TPM that is gone is said to be gone, also to those that wait", async () => {
  await chip.stop();
  const said = await Promise.all(
    Array.from({ length: 3 }, () => quote(hasty).catch((thrown: Error) => thrown.message)),
  );
  for (const one of said) expect(one).toContain("no program listens there");
});
