/** What the images of running guests are besides the guests' data: kept, refused by name, or dropped on a person's word. */
import { expect, test } from "bun:test";
import { closeSync, copyFileSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, failureOf } from "../../support/moves/whole-move.ts";
import { runChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

const mib = 2 ** 20;

interface Kind {
  name: string;
  format: "raw" | "qcow2";
  /** Of qemu-img create. */
  options: string;
}

/** A kind of image each; the names are the files'. */
const kinds: Kind[] = [
  { name: "usual.qcow2", format: "qcow2", options: "" },
  { name: "extended.qcow2", format: "qcow2", options: "extended_l2=on,cluster_size=128k" },
  { name: "large.qcow2", format: "qcow2", options: "cluster_size=2M,lazy_refcounts=on" },
  { name: "small.qcow2", format: "qcow2", options: "cluster_size=512,refcount_bits=64" },
  { name: "old.qcow2", format: "qcow2", options: "compat=0.10" },
  { name: "zstd.qcow2", format: "qcow2", options: "compression_type=zstd,refcount_bits=1" },
  { name: "tables.qcow2", format: "qcow2", options: "preallocation=metadata" },
  { name: "full.qcow2", format: "qcow2", options: "preallocation=falloc" },
  { name: "full.raw", format: "raw", options: "preallocation=falloc" },
];

async function create({ name, format, options }: Kind, sizeMiB = 16): Promise<string> {
  mkdirSync(join(at.folder, "web1"), { recursive: true });
  const path = join(at.folder, "web1", name);
  await runChild([
    ...["qemu-img", "create", "-q", "-f", format, ...(options === "" ? [] : ["-o", options])],
    ...[path, `${sizeMiB}M`],
  ]);
  return path;
}

/** Writes where the test guest never does. */
async function write(path: string, format: string, command: string): Promise<void> {
  await runChild(["qemu-io", "-f", format, "-c", command, path]);
}

interface Info {
  "format-specific"?: { data: Record<string, unknown> };
  "cluster-size"?: number;
  snapshots?: { name: string }[];
}

async function infoOf(path: string, format: string): Promise<Info> {
  return JSON.parse(await runChild(["qemu-img", "info", "-U", "-f", format, "--output=json", path]));
}

/** How an image was made, as far as it shows. */
async function shapeOf(path: string, format: string) {
  const { "format-specific": specific, "cluster-size": clusterBytes } = await infoOf(path, format);
  const { bitmaps, ...data } = specific?.data ?? {};
  const { size, blocks } = statSync(path);
  return format === "raw"
    ? { isFull: blocks * 512 >= 16 * mib }
    : {
        clusterBytes,
        data,
        hasTables: size >= 16 * mib + 4 * (clusterBytes ?? 0),
        isFull: blocks * 512 >= 16 * mib,
      };
}

/** What is on the guest's disk from 4 to 12 MiB. */
async function contentOf(path: string, format: string): Promise<Buffer> {
  const raw = join(at.folder, "whole");
  await runChild(["qemu-img", "convert", "-U", "-f", format, "-O", "raw", path, raw]);
  return readFileSync(raw).subarray(4 * mib, 12 * mib);
}

interface Image {
  path: string;
  format: "raw" | "qcow2";
}

/** A guest on these images, booted anew: they are what they are. */
const guestOn = (images: readonly Image[]) =>
  at.guest({ disks: images.map(({ path, format }) => ({ name: basename(path), format })), extraArgs: [] });

/** What `migrate explain` says of the guest. */
async function explained(guest: RunningGuest, ...flags: string[]) {
  const explain = at.hosts.source(["explain", `qmp:${guest.qmpPath}`, ...flags]);
  await explain.exit;
  return explain.events.at(-1) as unknown as { refused: string[]; notes: string[] };
}

/** Puts the head of a qcow2 image that names a file on a raw disk, as a guest can. */
async function writeHead(path: string): Promise<Buffer> {
  const evil = join(at.folder, "evil");
  const words = ["-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd"];
  await runChild(["qemu-img", "create", "-q", ...words, evil, "1M"]);
  const head = readFileSync(evil).subarray(0, 512);
  const fd = openSync(path, "r+");
  writeSync(fd, head, 0, head.length, 0);
  closeSync(fd);
  return head;
}

// [IMG-2] [IMG-4]
test("every kind of image is made at the destination as it was and holds the same, a raw one with any head; then they move on stored", async () => {
  const disks: Image[] = [];
  for (const kind of kinds) {
    const path = await create(kind);
    await write(path, kind.format, "write -P 7 5M 3M");
    await write(path, kind.format, "write -z 9M 1M");
    disks.push({ path, format: kind.format });
  }
  const raw = {
    path: await create({ name: "guest.raw", format: "raw", options: "" }),
    format: "raw",
  } as const;
  const head = await writeHead(raw.path);
  await write(raw.path, "raw", "write -P 7 5M 3M");
  disks.push(raw);
  const shapes = await Promise.all(disks.map(({ path, format }) => shapeOf(path, format)));
  expect(shapes[0]).not.toEqual(shapes[1]!);
  const guest = await guestOn(disks);
  await guest.waitForTick(1);
  await at.serve();
  const done = await doneOf(at.send(guest));
  expect(done).toMatchObject({ proven: expect.stringContaining("not of the images") });
  const arrived = at.arrived();
  await arrived.waitForTick(guest.ticks().length + 1);
  // In order: lazy refcounts are written when the image is closed.
  await (await arrived.watch()).execute("quit").catch(() => {});
  await until(() => !arrived.isRunning(), "the end of the QEMU there");
  for (const [i, { path, format }] of disks.entries()) {
    const there = join(at.hosts.store, "web1", basename(path));
    expect({ path, ...(await shapeOf(there, format)) }).toEqual({ path, ...shapes[i]! });
    if (format === "qcow2") await runChild(["qemu-img", "check", "-q", "-f", format, there]);
    const content = await contentOf(there, format);
    expect(content.equals(await contentOf(`${path}.migrated`, format))).toBe(true);
    expect([content[mib], content[4 * mib], content[5.5 * mib]]).toEqual([7, 0, 0]);
  }
  const formatsIn = (folder: string) => {
    const { files } = JSON.parse(readFileSync(join(folder, "vm.json"), "utf8"));
    const ofDisks = files.filter(({ kind }: { kind: string }) => kind === "disk");
    return ofDisks.map(({ file, format }: { file: string; format: string }) => ({ file, format }));
  };
  const formats = disks.map(({ path, format }) => ({ file: basename(path), format }));
  expect(formatsIn(join(at.hosts.store, "web1"))).toEqual(formats);
  const back = await at.back();
  await doneOf(back.send(join(at.hosts.store, "web1")));
  expect(formatsIn(join(back.store, "web1"))).toEqual(formats);
  const there = readFileSync(join(back.store, "web1", "guest.raw"));
  expect(there.subarray(0, 512).equals(head)).toBe(true);
  // The guest's first tick is in the second sector.
  expect(there.toString("latin1", 512, 518)).toBe("tick 1");
});

// [VM-9]
test("internal snapshots and dirty bitmaps are refused by a live move as explain says beforehand, kept by --mode stop, and stay behind where a person says so", async () => {
  // A version 2 image has no bitmaps.
  const disks: Image[] = [];
  for (const [name, options] of [
    ["db.qcow2", ""],
    ["old.qcow2", "compat=0.10"],
  ] as const) {
    const path = await create({ name, format: "qcow2", options });
    await write(path, "qcow2", "write -P 1 5M 1M");
    await runChild(["qemu-img", "snapshot", "-c", "before", path]);
    await write(path, "qcow2", "write -P 2 5M 1M");
    disks.push({ path, format: "qcow2" });
  }
  await runChild(["qemu-img", "bitmap", "--add", disks[0]!.path, "backup-1"]);
  const snapshots = ["db.qcow2", "old.qcow2"].map((name) => `the internal snapshots of ${name} (before)`);
  const bitmaps = "the dirty bitmaps of db.qcow2 (backup-1)";
  const guest = await guestOn(disks);
  await guest.waitForTick(1);
  await at.serve();

  const failure = await failureOf(at.send(guest));
  expect(failure).toMatchObject({ code: "policy", side: "source", exitCode: 6 });
  for (const what of [...snapshots, bitmaps])
    expect(failure.message).toContain(`${what} cannot be carried by a live move`);
  expect(failure.hint).toContain("--mode stop keeps the snapshots");
  expect(failure.hint).toContain("--drop bitmaps");
  expect([at.inStore(), at.processesAtDestination()]).toEqual([[], []]);
  expect((await explained(guest)).refused).toEqual([`${failure.message}. ${failure.hint}`]);
  expect((await explained(guest, "--mode", "stop")).refused).toEqual([]);
  const dropping = await explained(guest, "--drop", "snapshots", "--drop", "bitmaps");
  expect(dropping.refused).toEqual([]);
  expect(dropping.notes).toContain(`${snapshots[0]} stay behind`);

  await guest.waitForTick(guest.ticks().length + 1);
  const kept = await doneOf(at.send(guest, ["--mode", "stop"]));
  expect(kept).toMatchObject({ proven: expect.stringContaining("of its files") });
  expect("leftBehind" in kept).toBe(false);
  const arrived = at.arrived();
  await arrived.waitForTick(guest.ticks().length + 1);
  const qmp = await arrived.watch();
  await qmp.execute("stop");
  for (const { path } of disks) {
    const there = join(at.hosts.store, "web1", basename(path));
    const info = await infoOf(there, "qcow2");
    expect(info.snapshots?.map(({ name }) => name)).toEqual(["before"]);
    const copy = join(at.folder, "copy");
    copyFileSync(there, copy);
    expect((await contentOf(copy, "qcow2"))[mib]).toBe(2);
    if (path === disks[0]!.path) {
      expect(info["format-specific"]?.data.bitmaps).toMatchObject([{ name: "backup-1" }]);
      // qemu-img goes back to no snapshot while there is a bitmap.
      await runChild(["qemu-img", "bitmap", "--remove", copy, "backup-1"]);
    }
    await runChild(["qemu-img", "snapshot", "-a", "before", copy]);
    expect((await contentOf(copy, "qcow2"))[mib]).toBe(1);
  }
  await qmp.execute("cont");

  // On its way back: what QEMU has in its memory alone no move keeps, and what came later was nobody told of.
  const [block] = (await qmp.execute("query-block")) as { inserted: { "node-name": string } }[];
  const bitmap = (name: string) => ({ node: block!.inserted["node-name"], name });
  await qmp.execute("block-dirty-bitmap-add", bitmap("passing"));
  const passing = "the dirty bitmaps in QEMU's memory of db.qcow2 (passing)";
  const back = await at.back();
  const send = (...flags: string[]) => back.send(`qmp:${arrived.qmpPath}`, flags);
  expect(await failureOf(send("--mode", "stop"))).toMatchObject({
    code: "policy",
    message: `${passing} cannot be carried by any move`,
  });
  expect((await failureOf(send("--drop", "snapshots"))).message).toBe(
    `${bitmaps} cannot be carried by a live move; ${passing} cannot be carried by any move`,
  );
  const all = ["--drop", "snapshots", "--drop", "bitmaps"];
  const interrupted = send(...all, "--bandwidth", "16M");
  await interrupted.waitFor("phase", { where: ({ phase }) => phase === "pre-copy" });
  await qmp.execute("block-dirty-bitmap-add", bitmap("late"));
  expect(await failureOf(interrupted)).toMatchObject({ code: "source-changed" });
  await qmp.execute("block-dirty-bitmap-remove", bitmap("late"));
  await arrived.waitForTick(arrived.ticks().at(-1)! + 1);
  const sent = send(...all);
  const what = [snapshots[0]!, bitmaps, passing, snapshots[1]!];
  expect(await doneOf(sent)).toMatchObject({ leftBehind: what });
  const begun = sent.events.findIndex(({ event }) => event === "session");
  const told = sent.events
    .slice(0, begun)
    .flatMap((event) => (event.event === "notice" ? [event.message] : []));
  expect(told).toEqual(what.map((part) => `web1 goes without ${part}, which stays here alone`));
  const there = await infoOf(join(back.store, "web1", "db.qcow2"), "qcow2");
  expect([there.snapshots, there["format-specific"]?.data.bitmaps]).toEqual([undefined, undefined]);
});
