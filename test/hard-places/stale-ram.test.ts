/** RAM that was saved before the disks beside it were written: it is not sent as if it were theirs. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { overwrite, type SmallFile, type SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { TwoHosts } from "../support/moves/two-hosts.ts";
import type { MigrateProcess } from "../support/system/process.ts";

let root: string;
let vm: SmallVm;
let hosts: TwoHosts;
eachTestHasHosts("migrate-stale-", (made) => {
  ({ root, vm, hosts } = made);
});

async function endOf(send: MigrateProcess) {
  const { code } = await send.exit;
  return { code, last: send.events.at(-1)! as { message?: string; hint?: string; code?: string } };
}

async function expectRefused(send: MigrateProcess, says: string) {
  const { code, last } = await endOf(send);
  expect({ code, last }).toMatchObject({
    code: 6,
    last: { event: "error", code: "vm-invalid", side: "source" },
  });
  expect(last.message).toContain(says);
  return last;
}

async function expectSent(send: MigrateProcess) {
  const { code, last } = await endOf(send);
  expect(code, send.stdout() + send.stderr()).toBe(0);
  return last;
}

const nowhere = ["127.0.0.1:9", "--insecure", "--retry-for", "0s"];
/** A send that gets as far as to look for its destination. */
async function expectAccepted(send: MigrateProcess): Promise<void> {
  expect((await endOf(send)).last).toMatchObject({ event: "error", code: "network" });
}

/** Sets when a file was written, in seconds from now. */
function written(path: string, inSeconds: number): void {
  const at = Date.now() / 1000 + inSeconds;
  utimesSync(path, at, at);
}

describe("a VM that arrived with its RAM", () => {
  let folder: string;
  let ram: SmallFile;
  let disk: SmallFile;

  async function arrive(): Promise<void> {
    await hosts.serve();
    await expectSent(hosts.send(vm.folder));
    folder = join(hosts.store, vm.name);
    const there = (file: SmallFile) => ({ ...file, path: join(folder, file.base) });
    [ram, disk] = [there(vm.files[0]!), there(vm.files[1]!)];
  }

  const send = (...flags: string[]) => hosts.destination(["send", folder, ...nowhere, ...flags]);

  test("moves on as it is, also where its files were copied or belong to somebody else by now", async () => {
    await arrive();
    await expectAccepted(send());
    // The stamps are others, the bytes are the same; by its times alone the RAM would be far too old.
    written(ram.path, -3600);
    written(disk.path, 3600);
    await expectAccepted(send());
  });

  test("is refused once its disk was written, in whatever place, and whatever the times say", async () => {
    await arrive();
    const { mtimeMs } = statSync(disk.path);
    overwrite(disk, 5 * 2 ** 20, Buffer.from("it ran"));
    utimesSync(disk.path, mtimeMs / 1000, mtimeMs / 1000);
    const { hint } = await expectRefused(send(), `${ram.base} is not the RAM of these disks any more`);
    expect(hint).toContain("--without-ram");
    await expectRefused(send("--copy"), `${disk.base} has been written since the two arrived`);
    expect(existsSync(ram.path)).toBe(true);
  });

  test("is refused once its disk has grown", async () => {
    await arrive();
    writeFileSync(disk.path, Buffer.concat([readFileSync(disk.path), Buffer.alloc(512)]));
    await expectRefused(send(), "any more");
  });

  test("moves on with RAM that was saved anew after that, and not with RAM that was saved before", async () => {
    await arrive();
    overwrite(disk, 0, Buffer.from("it ran"));
    overwrite(ram, 0, Buffer.from("saved"));
    await expectAccepted(send());
    written(disk.path, 3600);
    const { hint } = await expectRefused(send(), `${disk.base} was written`);
    expect(hint).toContain(`touch ${ram.path}`);
  });

  for (const after of ["rename", "delete", "keep"] as const) {
    test(`goes without it where a person says so; with --after ${after} nothing passes for its RAM unsaid`, async () => {
      await arrive();
      overwrite(disk, 0, Buffer.from("it ran"));
      const back = await TwoHosts.make(join(root, "back"));
      back.sourceHome = hosts.destinationHome;
      back.destinationHome = hosts.sourceHome;
      await back.serve();
      const sent = back.send(folder, ["--without-ram", "--after", after]);
      const what = `its RAM image ${ram.base}`;
      expect(await expectSent(sent)).toMatchObject({ event: "done", leftBehind: [what] });
      const notice = sent.events.findIndex(
        ({ event, message }) => event === "notice" && String(message).includes(`goes without ${what}`),
      );
      expect(notice).toBeGreaterThanOrEqual(0);
      expect(notice).toBeLessThan(sent.events.findIndex(({ event }) => event === "session"));
      expect(String((sent.events[notice] as { message?: string }).message)).toContain(
        after === "keep" ? "which stays here beside disks that it may not fit" : `as ${ram.base}.migrated`,
      );
      const arrived = JSON.parse(readFileSync(join(back.store, vm.name, "vm.json"), "utf8"));
      expect(arrived.files.map(({ kind }: { kind: string }) => kind)).toEqual(["disk"]);
      expect(existsSync(join(back.store, vm.name, ram.base))).toBe(false);
      const left = after === "rename" ? `${folder}.migrated` : folder;
      const kept = join(left, after === "keep" ? ram.base : `${ram.base}.migrated`);
      expect(readFileSync(kept).length).toBe(ram.bytes);
      await back.close();
    });
  }

  test("that holds nothing else is no VM without it", async () => {
    await hosts.serve();
    writeFileSync(
      join(vm.folder, "vm.json"),
      JSON.stringify({
        format: "migrate-vm/1",
        name: "web1",
        files: [{ kind: "ram", file: vm.files[0]!.base }],
      }),
    );
    await expectRefused(hosts.send(vm.folder, ["--without-ram"]), "nothing but the VM's RAM");
  });
});

describe("a VM of which nothing but its files' times is known", () => {
  const byFiles = () =>
    hosts.source([
      ...["send", ...nowhere, "--name", "web1"],
      ...["--ram", vm.files[0]!.path, "--disk", vm.files[1]!.path],
    ]);

  test("is refused where a disk was written after its RAM had been saved, with what to do", async () => {
    written(vm.files[0]!.path, -3600);
    const { hint } = await expectRefused(byFiles(), `${vm.files[1]!.base} was written`);
    expect(hint).toContain("Leave out --ram");
    expect(hint).toContain(`touch ${vm.files[0]!.path}`);
    const byFolder = hosts.source(["send", vm.folder, ...nowhere]);
    expect((await expectRefused(byFolder, "any more")).hint).toContain("--without-ram");
    await expectAccepted(hosts.source(["send", vm.folder, ...nowhere, "--without-ram"]));
  });

  test("moves where the disk is as old as the RAM, older, or was closed right after it", async () => {
    for (const seconds of [0, -3600, 5]) {
      written(vm.files[0]!.path, -7200);
      written(vm.files[1]!.path, -7200 + seconds);
      await expectAccepted(byFiles());
    }
  });
});

test("--without-ram is about a VM in a folder", async () => {
  const words = ["--without-ram", "--name", "x", "--ram", vm.files[0]!.path];
  expect((await endOf(hosts.source(["send", ...nowhere, ...words]))).last).toMatchObject({ code: "usage" });
  const running = hosts.source(["send", "qmp:/none", ...nowhere, "--without-ram"]);
  expect((await endOf(running)).last).toMatchObject({ code: "usage" });
});
