/** A domain of libvirt's moves as it runs to a host that proves what it runs, and stays where the proof is another one. */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectEvidenceHolds } from "../../support/attestation/attested-hosts.ts";
import { definedDomain } from "../../support/libvirt/defined-domain.ts";
import { movingHosts } from "../../support/libvirt/moving-hosts.ts";
import { doneOf, failureOf } from "../../support/moves/whole-move.ts";
import { startChip, tpm2 } from "../../support/tpm/chip.ts";

const hosts = movingHosts({}, "hosta", "hostb");
const chips = mkdtempSync(join(tmpdir(), "lvc-"));
afterAll(() => rmSync(chips, { recursive: true, force: true }));

// [ATT-5]
test("it moves where the destination proves itself, and stays, running, where a register changes on its way", async () => {
  const [a, b] = hosts.all();
  const folder = join(chips, "b");
  mkdirSync(folder);
  const chip = await startChip(folder);
  b.env = { MIGRATE_TPM: chip.place };
  const serve = await b.serve("--attest");
  const { address, ticket } = b.reached;
  const recorded = a.run(["attest", "record", address, "--ticket", ticket, "--yes"]);
  expect(await recorded.exit, recorded.stderr()).toMatchObject({ code: 0 });

  const moved = await definedDomain(a.libvirt, { name: "proven" });
  await moved.start();
  await moved.waitForTick(3);
  const send = a.send("proven", b, "--attest");
  await doneOf(send);
  const moments = send.events.filter(({ event }) => event === "attested").map(({ moment }) => moment);
  expect(moments).toEqual(["offer", "start", "release"]);
  await moved.at(b.libvirt).waitForTicks(3);
  expect(await expectEvidenceHolds(a.home, (words) => a.run(words))).toBe(1);

  const kept = await definedDomain(a.libvirt, { name: "kept" });
  await kept.start();
  await kept.waitForTick(3);
  const slow = a.send("kept", b, "--attest", "--bandwidth", "8M");
  await slow.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > 0, deadlineMs: 60_000 });
  await tpm2(chip, folder, "pcrextend", `7:sha256=${"ab".repeat(32)}`);
  expect(await failureOf(slow)).toMatchObject({ code: "attestation", exitCode: 3 });
  await kept.waitForState("running");
  await kept.waitForTicks(3);
  expect(await b.libvirt.virsh("list", "--all", "--name")).not.toContain("kept");
  await serve.kill();
}, 180_000);
