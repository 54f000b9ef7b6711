/**
 * A VM that stands still, with the state of its virtual TPM, moves as files between two hosts that prove to each other what
 * they run, and back again; and does not, once one of them runs something else.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { AttestedHosts, expectEvidenceHolds, onlySession } from "../../support/attestation/attested-hosts.ts";
import { hashOf, makeSmallVm } from "../../support/files/small-vm.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, failureOf } from "../../support/moves/whole-move.ts";
import { tpm2 } from "../../support/tpm/chip.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

const tpm = { "tpm2-00.permall": 5_000 };
const mutual = ["--attest", "--prove"];

test("it moves there and back with its vTPM's state, and is refused once the host is in another state", async () => {
  const hosts = await AttestedHosts.make(at);
  const vm = makeSmallVm(join(at.folder, "web1"), { tpm });
  await hosts.serve(["--require-attestation"]);
  expect((await failureOf(hosts.sendFolder(vm.folder, mutual))).message).toContain("no policy for this host");
  await hosts.acceptSource();
  await doneOf(hosts.sendFolder(vm.folder, mutual));
  const there = join(at.hosts.store, "web1");
  for (const file of vm.files) expect(hashOf(join(there, file.base)), file.base).toBe(file.hash);
  for (const { path } of vm.files) expect(existsSync(path), path).toBe(false);

  const back = await hosts.back(["--require-attestation"]);
  await doneOf(back.send(there, mutual));
  const home = join(back.hosts.store, "web1");
  for (const file of vm.files) expect(hashOf(join(home, file.base)), file.base).toBe(file.hash);

  // What each has shown to the other is kept, and holds on its own; a byte of it that is changed does not.
  const { sourceHome, destinationHome } = at.hosts;
  const check = (words: string[]) => at.hosts.destination(words);
  expect(await expectEvidenceHolds(sourceHome, check)).toBeGreaterThanOrEqual(2);
  expect(await expectEvidenceHolds(destinationHome, check)).toBeGreaterThanOrEqual(2);
  const journal = Journal.open(sourceHome);
  const [kept] = journal.verdictsOf(onlySession(sourceHome));
  journal.close();
  const evidence = JSON.parse(readFileSync(kept!.file, "utf8")) as { attempt: number };
  evidence.attempt++;
  const forged = join(at.folder, basename(kept!.file));
  writeFileSync(forged, JSON.stringify(evidence));
  expect(await failureOf(check(["attest", "check", forged]))).toMatchObject({
    code: "attestation",
    exitCode: 3,
  });

  // Now the destination boots something else.
  await tpm2(hosts.chips.destination, at.folder, "pcrextend", `4:sha256=${"cd".repeat(32)}`);
  const other = makeSmallVm(join(at.folder, "web2"), { name: "web2", tpm });
  const { addressText } = at.hosts.proxy;
  const verify = hosts.source(["attest", "verify", addressText]);
  expect((await verify.exit).code).toBe(3);
  expect(verify.events.at(-1)).toMatchObject({ event: "verified", allowed: false });
  const refused = await failureOf(hosts.sendFolder(other.folder, mutual));
  expect(refused).toMatchObject({ code: "attestation", exitCode: 3 });
  expect(refused.message).toContain("Register 4");
  for (const { path, hash } of other.files) expect(hashOf(path)).toBe(hash);
  expect(existsSync(join(at.hosts.store, "web2"))).toBe(false);

  // Until a person takes that over.
  const update = hosts.source(["attest", "record", addressText, "--update", "--yes"]);
  expect(await update.exit, update.stderr()).toMatchObject({ code: 0 });
  expect(update.events.at(-1)).toMatchObject({ event: "recorded", version: 2 });
  await doneOf(hosts.sendFolder(other.folder, mutual));

  // What is copied is published only after a last proof, as what moves is released. [ATT-5]
  const third = makeSmallVm(join(at.folder, "web3"), { name: "web3" });
  await doneOf(hosts.sendFolder(third.folder, [...mutual, "--copy"]));
  // A VM may want it of itself. [RULE-3]
  const fourth = makeSmallVm(join(at.folder, "web4"), { name: "web4" });
  await doneOf(hosts.sendFolder(fourth.folder, ["--prove", "--vm-policy", "attested"]));
  const after = Journal.open(sourceHome);
  const lastOf = (vm: string) =>
    after
      .verdictsOf(after.all("source").find(({ name }) => name === vm)!.session)
      .map(({ moment }) => moment);
  const moments = { copied: lastOf("web3"), byItself: lastOf("web4") };
  after.close();
  expect(moments).toEqual({ copied: ["release"], byItself: ["release"] });
}, 90_000);
