/** Running guests with a virtual TPM, moved by the compiled binary: what was extended and sealed stays so. */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { isRunning, processId } from "../../../src/platform/process-id.ts";
import { swtpmOf } from "../../../src/vm/qemu/swtpm.ts";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { expectGoodLooks, looked } from "../../support/guests/seen/tpm-looks.ts";
import { tpmSealedLine } from "../../support/guests/tpm-guest.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectDisksAgree, expectGapless, expectMoved } from "../../support/moves/whole-move.ts";
import { startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { until } from "../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

describe("a guest with a virtual TPM", () => {
  const ways: [string, string[]][] = [
    ["live", []],
    ["stopped", ["--mode", "stop"]],
  ];
  test.each(ways)("keeps its PCR and its sealed secret over a move there and back (%s)", async (_, flags) => {
    const guest = await at.guest({
      tpm: true,
      append: "tpm=extend",
      disks: [{ name: "data.raw", format: "raw" }],
    });
    await guest.log.waitUntil((text) => text.includes(tpmSealedLine), "the sealing");
    await looked(guest);
    const swtpm = processId(guest.swtpmPid!)!;
    await at.serve();
    await doneOf(at.send(guest, flags));

    // Nothing of it works on here, and nothing of it could be started here.
    const there = await expectMoved(at, guest);
    expect(isRunning(swtpm)).toBe(false);
    expect([existsSync(guest.tpmState), existsSync(`${guest.tpmState}.migrated`)]).toEqual([false, false]);
    // Another swtpm works on the state in the store, which is as private as it was.
    const state = join(at.hosts.store, "web1", "tpm");
    expect(swtpmOf(join(there.folder, "swtpm"))).toMatchObject({
      process: there.noted()!.swtpm,
      stateFolder: state,
    });
    expect(readdirSync(state)).toContain("tpm2-00.permall");
    expect(statSync(join(state, "tpm2-00.permall")).mode & 0o777).toBe(0o600);
    expect(lstatSync(state).mode & 0o777).toBe(0o700);
    await looked(there);
    expectGoodLooks(guest, there);

    const log = openSync(join(there.folder, "serial.log"), "r");
    // Its log goes with its run folder, and is still to be read.
    const kept = { serialText: () => readFileSync(`/proc/self/fd/${log}`, "utf8") };
    const before = there.noted()!;
    const back = await at.back();
    await doneOf(back.send(`qmp:${there.qmpPath}`, flags));
    const home = new ArrivedGuest(back.destinationHome, "web1");
    expect([isRunning(before.qemu!), isRunning(before.swtpm!), existsSync(there.folder)]).toEqual([
      false,
      false,
      false,
    ]);
    expect(at.inStore()).toEqual(["web1.migrated"]);
    expect(readdirSync(join(at.hosts.store, "web1.migrated"))).toEqual(
      expect.arrayContaining(["data.raw", "vm.json"]),
    );
    expect(existsSync(join(at.hosts.store, "web1.migrated", "tpm"))).toBe(false);
    expect(swtpmOf(join(home.folder, "swtpm"))?.stateFolder).toBe(join(back.store, "web1", "tpm"));
    await looked(home);
    expectGoodLooks(guest, kept, home);
    expectGapless(guest, kept, home);
    await expectDisksAgree(join(back.store, "web1"), guest.options.disks, home, guest, kept);
    closeSync(log);
  });

  test("whose files are kept leaves the state of its TPM sealed alone, and only by a passphrase", async () => {
    const guest = await at.guest({ tpm: true });
    await guest.waitForTick(2);
    await at.serve();
    const refused = at.send(guest, ["--after", "keep"]);
    expect(await refused.exit).toMatchObject({ code: 6 });
    expect(refused.events.at(-1)).toMatchObject({
      code: "policy",
      message: expect.stringContaining(
        "--after keep would leave the state of web1's virtual TPM readable here",
      ),
      hint: expect.stringContaining("--seal-tpm FILE"),
    });
    expect(guest.isRunning()).toBe(true);
    const passphrase = join(at.folder, "passphrase");
    writeFileSync(passphrase, "kept\n", { mode: 0o600 });
    const done = await doneOf(at.send(guest, ["--after", "keep", "--seal-tpm", passphrase]));
    const sealed = `${guest.tpmState}.sealed-${done.session.slice(0, 8)}`;
    expect([existsSync(guest.tpmState), existsSync(sealed)]).toEqual([false, true]);
    const opened = join(at.folder, "opened");
    const unseal = at.hosts.source(["unseal-tpm", sealed, opened, "--tpm-passphrase-file", passphrase]);
    expect(await unseal.exit, unseal.stderr()).toMatchObject({ code: 0 });
    expect(readdirSync(opened)).toContain("tpm2-00.permall");
  });

  test("of another model, with its state in a folder of another name, is moved, and none of its processes stays", async () => {
    const [socket, state] = [join(at.folder, "own"), join(at.folder, "own-state")];
    mkdirSync(state);
    const ready = join(at.folder, "own.pid");
    const swtpm = startChild([
      ...["swtpm", "socket", "--tpm2", "--tpmstate", `dir=${state}`],
      ...["--ctrl", `type=unixio,path=${socket}`, "--pid", `file=${ready}`],
    ]);
    await until(() => existsSync(ready), "swtpm to listen");
    const guest = await at.guest({
      extraArgs: [
        ...["-chardev", `socket,id=chrtpm,path=${socket}`, "-tpmdev", "emulator,id=tpm0,chardev=chrtpm"],
        ...["-device", "tpm-crb,tpmdev=tpm0"],
      ],
    });
    await guest.waitForTick(2);
    await at.serve();
    await doneOf(at.send(guest));
    await withDeadline(swtpm.exit, 10_000, "the end of the source's swtpm");
    expect([existsSync(state), existsSync(`${state}.migrated`)]).toEqual([false, false]);
    const arrived = at.arrived();
    await arrived.waitForTick(guest.ticks().length + 2);
    expect(isRunning(arrived.noted()!.swtpm!)).toBe(true);
    // What ends a VM over there ends its TPM.
    await (await arrived.watch()).execute("quit").catch(() => {});
    await until(() => at.processesAtDestination().length === 0, "the end of the VM's processes");
  });
});
