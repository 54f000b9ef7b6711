/** Two hosts whose whole homes are set back together, so that none of their files tells: the TPM of one that attests does. */
import { describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { eachTestHasHosts } from "../../support/moves/hosts-of-tests.ts";
import { expectMoved, sessionsIn } from "../../support/moves/ownership.ts";
import type { TwoHosts } from "../../support/moves/two-hosts.ts";
import { runMigrate } from "../../support/system/process.ts";
import { type Chip, startChip, tpm2 } from "../../support/tpm/chip.ts";

let root: string;
let hosts: TwoHosts;
let chip: Chip;
eachTestHasHosts("hosts-set-back-", (given) => {
  ({ root, hosts } = given);
});

type Side = "source" | "destination";
const smallVm = (name: string) => makeSmallVm(join(root, name));

/** Moves a VM; the host of `attests` has the chip. What the command has said, and its exit code. */
async function move(name: string, attests: Side) {
  const world = { env: { MIGRATE_TPM: chip.place } };
  const none = { env: { MIGRATE_TPM: "none" } };
  const isSource = attests === "source";
  const serve = await hosts.serve({ flags: isSource ? [] : ["--attest"], ...(isSource ? none : world) });
  const vm = smallVm(name);
  const send = hosts.send(vm.folder, isSource ? ["--prove"] : [], isSource ? world : none);
  const { code } = await send.exit;
  await serve.kill("SIGTERM");
  const notices = [...send.events, ...serve.events].filter(({ event }) => event === "notice");
  return { code, vm, said: send.events.at(-1) as unknown as Record<string, unknown>, notices };
}

const homes = () => [hosts.sourceHome, hosts.destinationHome];
const copyOf = (home: string) => `${home}.copy`;

function setBack(): void {
  for (const home of homes()) {
    rmSync(home, { recursive: true });
    cpSync(copyOf(home), home, { recursive: true, preserveTimestamps: true });
  }
}

async function settle(side: Side): Promise<number | null> {
  const restored = hosts[side](["receipt", "restored", "--yes"], { env: { MIGRATE_TPM: chip.place } });
  return (await restored.exit).code;
}

/** A person brings the destination the receipts of its first session; what it says at the end. */
async function takeOverByReceipt(): Promise<Record<string, unknown>> {
  const { session } = sessionsIn(hosts.destinationHome, "destination")[0]!;
  const shown = runMigrate(["receipt", "show", session], { home: hosts.sourceHome });
  expect((await shown.exit).code).toBe(0);
  writeFileSync(join(root, "receipts"), shown.stdout());
  const words = ["resolve", session, "--receipt", join(root, "receipts")];
  const resolve = hosts.destination(words, { env: { MIGRATE_TPM: chip.place } });
  await resolve.exit;
  return resolve.events.at(-1) as unknown as Record<string, unknown>;
}

async function startHosts(): Promise<void> {
  mkdirSync(join(root, "chip"));
  chip = await startChip(join(root, "chip"));
}

describe.each(["destination", "source"] as const)("the %s, which attests", (attests) => {
  // [RCPT-8]
  test("is found out at its next move, until a person has looked", async () => {
    await startHosts();
    const first = await move("web1", attests);
    expect(first.code).toBe(0);
    expect(first.notices.map(({ message }) => message)).toContainEqual(
      expect.stringContaining("TPM counts its handovers from now on"),
    );
    for (const home of homes()) cpSync(home, copyOf(home), { recursive: true, preserveTimestamps: true });
    expect(await move("web2", attests)).toMatchObject({ code: 0 });
    setBack();
    const { code, said } = await move("web3", attests);
    expect({ code, said: said.message }).toEqual({
      code: 7,
      said: `the ${attests}'s journal is older than the counter in its TPM: it was restored`,
    });
    // Nor is anything taken over there by what the source has signed.
    if (attests === "destination")
      expect(await takeOverByReceipt()).toMatchObject({ code: "in-doubt", message: said.message });
    expect(await settle(attests)).toBe(0);
    const again = await move("web4", attests);
    expect(again.code).toBe(0);
    expectMoved(again.vm, hosts, "after a person has looked");

    // Who sets a host back may clear its TPM as well.
    setBack();
    await tpm2(chip, root, "clear", "-c", "platform");
    const cleared = await move("web5", attests);
    expect(cleared.code).toBe(7);
    expect(String(cleared.said.message)).toStartWith(
      `the ${attests}'s TPM does not have the count that its journal knows`,
    );
    expect(await settle(attests)).toBe(0);
    expect((await move("web6", attests)).code).toBe(0);
  }, 120_000);
});
