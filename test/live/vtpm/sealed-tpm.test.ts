/** One seal holds a VM's UUID, its files and its virtual TPM together: halves of two VMs are not moved, nor started. */
import { expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type EkFound, ekOfState } from "../../../src/vm/tpm/ek-of-state.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { callMonitor } from "../../support/guests/seen/monitor.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf } from "../../support/moves/whole-move.ts";
import { startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

let at: RunningHosts;
eachTestHasRunningHosts((made) => {
  at = made;
});

const fixture = (name: string) => join(import.meta.dir, "../../fixtures/swtpm-0.7.1", `${name}.permall`);
const one = "sha256:2ad090cf28bf8bdef05a5606d37a41cc6929cc7574032fda0e5579a34376754b";
const permall = "tpm/tpm2-00.permall";
const manifestIn = (folder: string) => JSON.parse(readFileSync(join(folder, "vm.json"), "utf8"));
const ekIn = (folder: string): Promise<EkFound> => ekOfState(readFileSync(join(folder, "tpm2-00.permall")));

/** A VM of files whose TPM's state a swtpm has made. */
function fileVm(ram: null | undefined) {
  const vm = makeSmallVm(join(at.folder, "files", "web2"), {
    tpm: { "tpm2-00.permall": 1 },
    ...(ram === null ? { ram } : {}),
  });
  copyFileSync(fixture("one"), join(vm.folder, permall));
  return vm;
}

/** What `send` and `explain` at the destination say of the VM in that folder. */
async function refusedThere(folder: string): Promise<string[]> {
  const send = at.hosts.destination(["send", folder, "127.0.0.1:9", "--insecure"]);
  expect(await send.exit, send.stderr()).toMatchObject({ code: 6 });
  const explain = at.hosts.destination(["explain", folder]);
  expect(await explain.exit).toMatchObject({ code: 6 });
  const told = explain.events.at(-1) as unknown as { refused: string[] };
  const { message, hint } = send.events.at(-1) as unknown as { message: string; hint: string };
  expect(told.refused[0]).toBe(`${message}. ${hint}`);
  return [message, hint];
}

test("a VM of files: vm.json has its TPM's key, verify holds, and another TPM's state beside it is refused", async () => {
  const vm = fileVm(null);
  await at.serve();
  const send = at.hosts.send(vm.folder);
  expect(await send.exit, send.stderr()).toMatchObject({ code: 0 });
  const folder = join(at.hosts.store, "web2");
  expect(manifestIn(folder)).toMatchObject({ tpm: { ek: one }, digest: { bound: true } });
  expect(await at.hosts.destination(["verify", folder]).exit).toMatchObject({ code: 0 });
  copyFileSync(fixture("other"), join(folder, permall));
  expect((await refusedThere(folder))[0]).toBe(
    "the state beside web2 is that of another virtual TPM than was sealed with it",
  );
  rmSync(join(folder, permall));
  copyFileSync(fixture("one"), join(folder, permall));
  const back = at.hosts.destination(["explain", folder]);
  expect(await back.exit, back.stderr()).toMatchObject({ code: 0 });
});

test("a suspended VM: an older half of its own TPM beside its saved RAM is refused, and goes without that RAM", async () => {
  const vm = fileVm(undefined);
  await at.serve();
  const send = at.hosts.send(vm.folder);
  expect(await send.exit, send.stderr()).toMatchObject({ code: 0 });
  const folder = join(at.hosts.store, "web2");
  copyFileSync(fixture("locked"), join(folder, permall));
  const [message, hint] = await refusedThere(folder);
  expect(message).toContain("is not the state of the virtual TPM that was sealed with web2.ram");
  expect(hint).toContain("--without-ram");
  const without = at.hosts.destination(["explain", folder, "--without-ram"]);
  expect(await without.exit, without.stderr()).toMatchObject({ code: 0 });
});

test("a copy's new TPM has another key", async () => {
  const vm = fileVm(null);
  await at.serve();
  const copy = at.hosts.send(vm.folder, ["--copy", "--new-tpm"]);
  expect(await copy.exit, copy.stderr()).toMatchObject({ code: 0 });
  const folder = join(at.hosts.store, "web2");
  expect([existsSync(join(folder, "tpm")), manifestIn(folder).tpm]).toEqual([false, undefined]);
  const state = join(folder, "tpm");
  mkdirSync(state);
  const ready = join(at.folder, "copy.pid");
  const swtpm = startChild([
    ...["swtpm", "socket", "--tpm2", "--tpmstate", `dir=${state}`, "--flags", "not-need-init,startup-clear"],
    ...["--server", `type=unixio,path=${join(at.folder, "copy.tpm")}`, "--pid", `file=${ready}`],
  ]);
  await until(() => existsSync(ready) && existsSync(join(state, "tpm2-00.permall")), "a TPM of its own");
  await swtpm.kill();
  const [its, own] = [await ekIn(state), await ekIn(join(vm.folder, "tpm"))];
  expect(own).toEqual({ ek: one });
  expect(its).toEqual({ ek: expect.stringMatching(/^sha256:/) });
  expect(its).not.toEqual(own);
});

test("a VM that ran: its TPM's key arrives with it, and it is not started with another TPM's state", async () => {
  const guest = await at.guest({ tpm: true });
  await guest.waitForTick(2);
  await at.serve();
  const before = await ekIn(guest.tpmState);
  await doneOf(at.send(guest, ["--vm-policy", "no-copies"]));
  const folder = join(at.hosts.store, "web1");
  expect(manifestIn(folder).policy).toEqual({ onlyAttested: false, noCopies: true });
  expect(before).toEqual({ ek: manifestIn(folder).tpm.ek });
  expect(await ekIn(join(folder, "tpm"))).toEqual(before);
  const there = new ArrivedGuest(at.hosts.destinationHome, "web1");
  const monitor = await callMonitor(there.qmpPath, () => there.isRunning());
  await monitor.execute("quit").catch(() => {});
  monitor.close();
  await until(() => at.processesAtDestination().length === 0, "the end of the VM's processes");

  const [state, own] = [join(folder, permall), join(at.folder, "own.permall")];
  copyFileSync(state, own);
  copyFileSync(fixture("other"), state);
  const start = () => at.hosts.destination(["start", "web1", "--store", at.hosts.store, "--allow-tcg"]);
  const refused = start();
  expect(await refused.exit).toMatchObject({ code: 6 });
  expect(refused.events.at(-1)).toMatchObject({
    code: "vm-invalid",
    message: "the state beside web1 is that of another virtual TPM than was sealed with it",
  });
  copyFileSync(own, state);
  const started = start();
  expect(await started.exit, started.stderr()).toMatchObject({ code: 0 });
});

test("a VM that arrived with another TPM than was sealed with it is told of, as soon as it runs there", async () => {
  const guest = await at.guest({ tpm: true });
  await guest.waitForTick(2);
  // What lies there as the source looks is another one's, and its own again as swtpm hands it over.
  const [state, own] = [join(guest.tpmState, "tpm2-00.permall"), join(at.folder, "own.permall")];
  copyFileSync(state, own);
  copyFileSync(fixture("other"), state);
  const serving = await at.serve();
  const send = at.send(guest, ["--bandwidth", "24M"]);
  await send.waitFor("ram");
  copyFileSync(own, state);
  await doneOf(send);
  expect(manifestIn(join(at.hosts.store, "web1")).tpm.ek).not.toBe(one);
  const warning = await serving.waitFor("warning");
  expect(warning.message).toStartWith("web1 runs here with another virtual TPM than was sealed with it");
});
