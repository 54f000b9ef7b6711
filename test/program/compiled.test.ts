/** The compiled binary alone: in a folder of its own, with the sources out of reach, within its memory. */
import { afterEach, expect, test } from "bun:test";
import { closeSync, copyFileSync, mkdirSync, openSync, readdirSync, statSync, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import { limits } from "../../src/protocol/limits.ts";
import { type Extent, makeSmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import { killChildren, runChild } from "../support/system/child.ts";
import { MountNamespace } from "../support/system/mount-namespace.ts";
import { PeakMemory } from "../support/system/peak-memory.ts";
import { builtBinary } from "../support/system/process.ts";

const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;
const memoryLimitBytes = 256 * mebibyte;
const repository = resolve(import.meta.dir, "../..");

let root: string;
let hosts: TwoHosts;
let namespace: MountNamespace | undefined;

afterEach(async () => {
  await killChildren();
  await namespace?.close();
  namespace = undefined;
});
eachTestHasHosts("migrate-compiled-", (made) => {
  ({ root, hosts } = made);
});

test("alone in a folder, with no sources on the machine, it moves a VM over several lanes, with pairing and status and verify", async () => {
  const elsewhere = join(root, "elsewhere");
  const folder = join(root, "bin");
  mkdirSync(elsewhere);
  mkdirSync(folder);
  copyFileSync(builtBinary, join(folder, "migrate"));
  namespace = await MountNamespace.make([`mount -t tmpfs -o ro tmpfs '${repository}'`]);
  const enter = namespace.enter(elsewhere);
  expect(await runChild([...enter, "ls", "-A", repository]), "the sources are out of reach").toBe("");
  const options = {
    binary: [...enter, join(folder, "migrate")],
    env: { HOME: elsewhere, XDG_STATE_HOME: undefined, PATH: "/usr/bin:/bin" },
  };
  const vm = makeSmallVm(join(root, "web1"), {
    ram: { bytes: 40 * mebibyte + 1, extents: [{ at: 0, bytes: 40 * mebibyte + 1 }] },
    tpm: { "tpm2-00.permall": 5000 },
  });

  const serve = await hosts.serve({ flags: ["--once"], ...options });
  const send = hosts.send(vm.folder, ["--streams", "4"], options);
  const done = await send.waitFor("done");
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expect(await serve.exit).toEqual({ code: 0, signal: null });
  expect([...send.strayLines, ...serve.strayLines]).toEqual([]);
  // One to control it, and a Worker's own for each lane; a lane may connect again to get another thread there.
  expect(hosts.proxy.connections).toBeGreaterThanOrEqual(1 + 4);
  expect(hosts.proxy.connections).toBeLessThanOrEqual(1 + limits.lanes);
  expect(done).toMatchObject({ owner: "destination", chunksSent: vm.dataChunks });
  expectMoved(vm, hosts, "compiled");

  const verify = hosts.destination(["verify", join(hosts.store, "web1")], options);
  expect(await verify.waitFor("verified")).toMatchObject({ ok: true, digest: done.digest });
  expect(await verify.exit).toMatchObject({ code: 0 });
  const history = hosts.source(["history"], options);
  expect(await history.exit).toMatchObject({ code: 0 });
  expect(history.events).toMatchObject([{ name: "web1", state: "confirmed", owner: "destination" }]);
  expect(readdirSync(elsewhere)).toEqual([]);
});

test("a VM of 8 GiB that is mostly holes moves with less than 256 MiB of memory on each side, and stays as sparse", async () => {
  const spread: Extent[] = Array.from({ length: 64 }, (_, i) => ({
    at: i * 127 * mebibyte,
    bytes: 4 * mebibyte,
  }));
  const vm = makeSmallVm(join(root, "big"), {
    ram: { bytes: 512 * mebibyte, extents: [{ at: 100 * mebibyte, bytes: 64 * mebibyte }] },
    disks: [{ bytes: 8 * gibibyte + 13, extents: spread }],
  });
  // Zeros that are no hole on the source cost nothing either.
  const fd = openSync(vm.files[0]!.path, "r+");
  writeSync(fd, Buffer.alloc(64 * mebibyte), 0, 64 * mebibyte, 300 * mebibyte);
  closeSync(fd);
  const blocksOf = (folder: string) => vm.files.map(({ base }) => statSync(join(folder, base)).blocks);
  const sourceBlocks = blocksOf(vm.folder);

  const serve = await hosts.serve();
  const send = hosts.send(vm.folder, ["--streams", "4"]);
  const memory = [serve, send].map(({ pid }) => new PeakMemory(pid));
  const done = await send.waitFor("done", { deadlineMs: 50_000 });
  const peaks = memory.map((peak) => peak.stop());
  expect(await send.exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "8 GiB");
  const [servePeak, sendPeak] = peaks;
  console.log(`peak memory: serve ${servePeak! / mebibyte} MiB, send ${sendPeak! / mebibyte} MiB`);
  expect(servePeak).toBeGreaterThan(0);
  expect(servePeak).toBeLessThan(memoryLimitBytes);
  expect(sendPeak).toBeGreaterThan(0);
  expect(sendPeak).toBeLessThan(memoryLimitBytes);
  const dataBytes = (64 + 64 * 4) * mebibyte;
  expect(done.wireBytes).toBeLessThan(1.01 * dataBytes);
  const there = blocksOf(join(hosts.store, "big"));
  for (const [i, blocks] of there.entries()) expect(blocks).toBeLessThanOrEqual(sourceBlocks[i]! + 64);
  // The zeros that were written on the source are a hole at the destination.
  expect(there[0]! * 512).toBeLessThan(sourceBlocks[0]! * 512 - 60 * mebibyte);
});
