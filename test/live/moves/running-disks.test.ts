/** The disks of running guests, moved by the compiled binary: holes, backing files, read-only ones, and what becomes of the source's. */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import { createDisk } from "../../support/guests/tick-disk.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectDisksAgree, expectMoved, failureOf } from "../../support/moves/whole-move.ts";
import { runChild } from "../../support/system/child.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

const mib = 2 ** 20;
const ways: [string, string[]][] = [
  ["live", []],
  ["stopped", ["--mode", "stop"]],
];
const allocated = (path: string): number => statSync(path).blocks * 512;

/** What qemu-img(1) says of an image. */
async function infoOf(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await runChild(["qemu-img", "info", "-U", "--output=json", path]));
}

/** Bytes of the guest's disk, wherever the image keeps them. */
async function bytesAt(path: string, offset: number, bytes: number): Promise<string> {
  const raw = `${path}.whole`;
  await runChild(["qemu-img", "convert", "-U", "-O", "raw", path, raw]);
  return readFileSync(raw).toString("latin1", offset, offset + bytes);
}

describe("disks with little on them", () => {
  test.each(ways)("are as small over there (%s)", async (_, flags) => {
    const guest = await at.guest({
      disks: [
        { name: "big.raw", format: "raw", sizeMiB: 1024 },
        { name: "big.qcow2", format: "qcow2", sizeMiB: 1024 },
      ],
    });
    await guest.waitForTick(3);
    const word = "far in";
    const raw = openSync(guest.options.disks[0]!.path, "r+");
    // Behind the back of a guest that never looks there.
    writeSync(raw, word, 700 * mib);
    // Zeros that take room here take none there.
    writeSync(raw, Buffer.alloc(16 * mib), 0, 16 * mib, 300 * mib);
    closeSync(raw);
    expect(allocated(guest.options.disks[0]!.path)).toBeGreaterThan(16 * mib);
    await at.serve();
    const done = await doneOf(at.send(guest, flags));
    expect(done.bytes).toBeGreaterThan(1024 * mib);
    expect(done.wireBytes).toBeLessThan(256 * mib);
    const arrived = await expectMoved(at, guest);
    const folder = join(at.hosts.store, "web1");
    const [rawThere, qcow2There] = ["big.raw", "big.qcow2"].map((name) => join(folder, name)) as [
      string,
      string,
    ];
    expect(statSync(rawThere).size).toBe(1024 * mib);
    expect(allocated(rawThere)).toBeLessThan(4 * mib);
    expect(statSync(qcow2There).size).toBeLessThan(4 * mib);
    expect(await infoOf(qcow2There)).toMatchObject({ format: "qcow2", "virtual-size": 1024 * mib });
    const fd = openSync(rawThere, "r");
    expect(
      await Bun.file(fd)
        .slice(700 * mib, 700 * mib + word.length)
        .text(),
    ).toBe(word);
    closeSync(fd);
    await expectDisksAgree(folder, guest.options.disks, arrived, guest);
  });
});

describe("a disk that stands on another image", () => {
  const marks = "what the base holds";

  /** A guest whose disk is an overlay; the base holds `marks` at 8 MiB, where the guest does not write. */
  async function guestOnBase() {
    const folder = join(at.folder, "web1");
    mkdirSync(folder);
    const base = join(folder, "base.raw");
    await createDisk({ path: base, format: "raw" }, 16);
    const fd = openSync(base, "r+");
    writeSync(fd, marks, 8 * mib);
    closeSync(fd);
    await runChild([
      "qemu-img",
      "create",
      "-q",
      "-f",
      "qcow2",
      "-b",
      base,
      "-F",
      "raw",
      join(folder, "top.qcow2"),
    ]);
    return await at.guest({ disks: [{ name: "top.qcow2", format: "qcow2" }] });
  }

  test("is flattened by a live move: over there it is whole by itself", async () => {
    const guest = await guestOnBase();
    await guest.waitForTick(3);
    await at.serve();
    await doneOf(at.send(guest));
    const arrived = await expectMoved(at, guest);
    const folder = join(at.hosts.store, "web1");
    const info = await infoOf(join(folder, "top.qcow2"));
    expect(info["backing-filename"]).toBeUndefined();
    expect(readdirSync(folder)).not.toContain("base.raw");
    expect(await bytesAt(join(folder, "top.qcow2"), 8 * mib, marks.length)).toBe(marks);
    await arrived.waitForTick(guest.ticks().length + 3);
    await expectDisksAgree(folder, guest.options.disks, arrived, guest);
    // Others may stand on the base: it is not retired.
    expect(existsSync(join(guest.options.folder, "base.raw"))).toBe(true);
  });

  test("is refused by a move that sends files, which says what to do, and the guest goes on", async () => {
    const guest = await guestOnBase();
    await guest.waitForTick(1);
    await at.serve();
    expect(await failureOf(at.send(guest, ["--mode", "stop"]))).toMatchObject({
      code: "vm-invalid",
      side: "source",
      message: expect.stringMatching(/top\.qcow2 is not a whole disk: it has a backing file$/),
      hint: "--mode live flattens it on the way.",
      exitCode: 6,
    });
    await guest.waitForTick(guest.ticks().length + 2);
    expect([at.inStore(), at.processesAtDestination()]).toEqual([[], []]);
  });
});

test.each(ways)("an image that is only read goes along and stays (%s)", async (_, flags) => {
  const image = join(at.folder, "tools.raw");
  const bytes = Buffer.alloc(2 * mib, "what everybody reads");
  writeFileSync(image, bytes);
  const guest = await at.guest({
    extraArgs: ["-drive", `file=${image},format=raw,if=virtio,read-only=on`],
    disks: [{ name: "data.raw", format: "raw" }],
  });
  await guest.waitForTick(2);
  await at.serve();
  await doneOf(at.send(guest, flags));
  const folder = join(at.hosts.store, "web1");
  const arrived = at.arrived();
  await arrived.waitForTick(guest.ticks().length + 2);
  expect(readFileSync(image).equals(bytes)).toBe(true);
  expect(readFileSync(join(folder, "tools.raw")).equals(bytes)).toBe(true);
  await expectDisksAgree(folder, guest.options.disks, arrived, guest);
});

/** Drives that a CD can be taken from, at `path`. */
const cdDrives: [string, (path: string) => string[]][] = [
  [
    "-drive",
    (path) => ["-drive", `file=${path},format=raw,if=none,id=cd0,media=cdrom,readonly=on,cache=none`],
  ],
  [
    "-blockdev",
    (path) => ["-blockdev", `raw,node-name=cd0,read-only=on,file.driver=file,file.filename=${path}`],
  ],
];

test.each(cdDrives)(
  "a CD (%s) that was taken out is not in the drive again, which stays open, and its file stays",
  async (_, drive) => {
    const [cd, other] = [join(at.folder, "cd.img"), join(at.folder, "other.img")];
    for (const path of [cd, other]) await createDisk({ path, format: "raw" }, 4);
    const guest = await at.guest({
      extraArgs: [
        ...[...drive(cd), "-device", "ide-cd,drive=cd0,id=cdrom0"],
        // What comes after it keeps its place among the files.
        ...["-drive", `file=${other},format=raw,if=virtio,readonly=on`],
      ],
    });
    await guest.waitForTick(3);
    const monitor = await guest.watch();
    await monitor.execute("blockdev-open-tray", { id: "cdrom0", force: true });
    await monitor.execute("blockdev-remove-medium", { id: "cdrom0" });
    const explained = await at.hosts.source(["explain", `qmp:${guest.qmpPath}`]).waitFor("explanation");
    expect(String(explained.notes)).toContain("cd.img stays here: it was taken out");
    await at.serve();
    await doneOf(at.send(guest));
    const arrived = at.arrived();
    await arrived.waitForTick(guest.ticks().at(-1)! + 2);
    const drives = (await (await arrived.watch()).execute("query-block")) as {
      qdev: string;
      tray_open?: boolean;
      inserted?: object;
    }[];
    const seen = drives.map(({ qdev, tray_open, inserted }) => [
      qdev.includes("cdrom0"),
      tray_open ?? null,
      inserted !== undefined,
    ]);
    const disk = [false, null, true];
    expect(seen.sort()).toEqual([disk, disk, disk, [true, true, false]]);
    expect(existsSync(cd)).toBe(true);
    expect(readdirSync(join(at.hosts.store, "web1"))).not.toContain("cd.img");
  },
);

describe("the source's files", () => {
  test.each(ways)(
    "stay with --after keep, and a VM started on them again is not sent (%s)",
    async (_, flags) => {
      const guest = await at.guest();
      await guest.waitForTick(1);
      await at.serve();
      expect(await doneOf(at.send(guest, [...flags, "--after", "keep"]))).toMatchObject({ after: "keep" });
      await expectMoved(at, guest, "keep");
      await at.arrived().kill();
      const again = await at.guest();
      expect(await failureOf(at.send(again, flags))).toMatchObject({
        code: "not-owner",
        side: "source",
        exitCode: 7,
      });
      await again.waitForTick(1);
      expect(again.isRunning()).toBe(true);
    },
  );

  test.each(ways)("go with --after delete (%s)", async (_, flags) => {
    const guest = await at.guest();
    await guest.waitForTick(1);
    const others = readdirSync(guest.options.folder).filter((name) => !/\.(raw|qcow2)$/.test(name));
    await at.serve();
    expect(await doneOf(at.send(guest, [...flags, "--after", "delete"]))).toMatchObject({ after: "delete" });
    const arrived = await expectMoved(at, guest, "delete");
    const left = readdirSync(guest.options.folder);
    expect(others).toEqual(expect.arrayContaining(left));
    expect(left.map((name) => basename(name))).toContain("serial.log");
    await arrived.waitForTick(guest.ticks().length + 2);
    await expectDisksAgree(join(at.hosts.store, "web1"), guest.options.disks, arrived, guest);
  });
});
