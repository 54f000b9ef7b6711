/** Attestation of a host that ssh alone reaches: what it runs is recorded, verified, and proven to each move. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import type { SshHosts } from "../../support/ssh/ssh-hosts.ts";
import {
  done,
  expectArrived,
  failure,
  said,
  sshHostsOfEachTest,
} from "../../support/ssh/ssh-hosts-of-tests.ts";
import { type Chip, startChip, tpm2 } from "../../support/tpm/chip.ts";

const makeHosts = sshHostsOfEachTest();
const limitMs = 120_000;

let folder: string;
let chip: Chip;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ssh-chip-"));
  chip = await startChip(folder);
});
afterEach(async () => {
  await chip.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Hosts of which the one that ssh leads to has the chip, by its own environment: none travels over ssh. */
const attestedHosts = () => makeHosts({ installed: true, environment: { MIGRATE_TPM: chip.place } });

/** Runs a command against the host behind ssh, to its end, and until the serve of it has ended too. */
async function asked(hosts: SshHosts, ...words: string[]) {
  const run = hosts.migrate([...words, "--json"]);
  const { code } = await run.exit;
  await hosts.waitUntilQuiet();
  return { code, events: run.events as unknown as Record<string, unknown>[], stderr: run.stderr() };
}

test(
  "a host behind ssh is recorded, verified, and proves what it runs to a move, with serves for each alone",
  async () => {
    const hosts = await attestedHosts();
    mkdirSync(hosts.at("store"), { mode: 0o700 });
    const there = hosts.address("root", hosts.at("store"));
    const recorded = await asked(hosts, "attest", "record", there, "--yes");
    expect(
      recorded.events.find(({ event }) => event === "recorded"),
      recorded.stderr,
    ).toMatchObject({
      name: there,
      version: 1,
    });
    expect((await asked(hosts, "attest", "verify", there)).code).toBe(0);

    const vm = makeSmallVm(hosts.at("web1"));
    const send = hosts.migrate(["send", vm.folder, there, "--attest", "--json"]);
    await done(send);
    await send.exit;
    expectArrived(vm, hosts.at("store"));
    const moments = send.events.flatMap((event) =>
      event.event === "attested" ? [(event as unknown as { moment: string }).moment] : [],
    );
    expect(moments).toEqual(["offer", "release"]);
    expect(said(send)).toContain("by a serve for this command alone");
    await hosts.waitUntilQuiet();

    // Another state than was recorded, and nothing of a VM goes there.
    await tpm2(chip, folder, "pcrextend", `7:sha256=${"ab".repeat(32)}`);
    expect((await asked(hosts, "attest", "verify", there)).code).toBe(3);
    const other = makeSmallVm(hosts.at("web2"), { seed: 2 });
    const refused = await failure(hosts.migrate(["send", other.folder, there, "--attest", "--json"]));
    expect(refused).toMatchObject({ exit: 3, code: "attestation" });
    expect(refused.message).toContain("Register 7");
    expect(existsSync(join(hosts.at("store"), "web2"))).toBe(false);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "a host behind ssh that was never recorded gets nothing with --attest, and the way out is said",
  async () => {
    const hosts = await attestedHosts();
    const vm = makeSmallVm(hosts.at("web1"));
    const send = hosts.migrate([
      ...["send", vm.folder, hosts.address("root", hosts.at("store"))],
      ...["--attest", "--json"],
    ]);
    const refused = await failure(send);
    expect(refused).toMatchObject({ exit: 3, code: "attestation" });
    expect(refused.message).toContain("has no policy for");
    expect(refused.hint).toContain("migrate attest record");
    await hosts.waitUntilQuiet();
  },
  limitMs,
);
