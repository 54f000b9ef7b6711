/** Disks that are full, at any moment: a clear refusal, the server goes on, and so does the session. */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { SmallDisk } from "../support/files/small-disk.ts";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import { planCrash } from "../support/moves/crash-point.ts";
import { crashProgram } from "../support/moves/crash-programs.ts";
import { expectMoved, expectOneOwner } from "../support/moves/ownership.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { startServing, stopServing } from "../support/moves/serving.ts";
import { TwoHosts } from "../support/moves/two-hosts.ts";
import { builtBinary, runMigrate } from "../support/system/process.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

const mebibyte = 1024 ** 2;
let root: string;
let vm: SmallVm;
let hosts: TwoHosts;
let disk: SmallDisk;

/** 6 MiB of data. */
const ram = { bytes: 6 * mebibyte + 99, extents: [{ at: 0, bytes: 6 * mebibyte + 99 }] };

eachTestInFolder("migrate-full-", async (made) => {
  root = made;
  vm = makeSmallVm(join(root, "web1"), { ram, disks: [] });
  hosts = await TwoHosts.make(join(root, "hosts"));
  disk = await SmallDisk.make(join(root, "disk"), 8 * mebibyte);
  return async () => {
    await stopServing();
    await hosts.close();
    await disk.close();
  };
});

/** `migrate serve` with its store on the small disk. */
async function serveOnDisk() {
  hosts.store = join(root, "disk", "store");
  const serve = await hosts.serve({ binary: [...disk.enter, builtBinary] });
  hosts.store = join(disk.path, "store");
  return serve;
}

test("a VM that fits only until another one has arrived is refused before a byte of it is sent", async () => {
  await serveOnDisk();
  const first = hosts.send(vm.folder, ["--bandwidth", "2M", "--compress", "off"]);
  await first.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  const other = makeSmallVm(join(root, "web2"), { ram, disks: [] });
  const error = await hosts.send(other.folder).waitFor("error");
  expect(error).toMatchObject({
    code: "no-room",
    message: expect.stringMatching(
      /^the VM needs \d+ bytes, .* free, of which other sessions will take \d+$/,
    ),
  });
  expect(await first.exit).toMatchObject({ code: 0 });
});

test("a VM that cannot fit is refused before a byte of it is sent, with exit code 6", async () => {
  const serve = await serveOnDisk();
  disk.fill(3 * mebibyte);
  const send = hosts.send(vm.folder);
  expect(await send.waitFor("error")).toMatchObject({
    code: "no-room",
    side: "destination",
    phase: "prepare",
  });
  expect(await send.exit).toMatchObject({ code: 6 });
  expect(hosts.proxy.bytes["to-destination"]).toBeLessThan(100_000);
  expect(readdirSync(hosts.store)).toEqual([".migrate-lock"]);
  expectOneOwner(vm, hosts, "refused");

  disk.empty();
  const again = hosts.send(vm.folder);
  expect(await again.exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "room again");
  expect(await serve.kill("SIGTERM")).toMatchObject({ code: 0 });
});

test("a disk that fills up during the transfer ends send with 6 and leaves serve and the session as they are", async () => {
  const serve = await serveOnDisk();
  const flags = ["--bandwidth", "6M", "--streams", "2"];
  const send = hosts.send(vm.folder, flags);
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes >= mebibyte });
  disk.fill();
  expect(await send.waitFor("error")).toMatchObject({
    code: "no-room",
    side: "destination",
    phase: "stop-and-copy",
    message: expect.stringContaining("full"),
  });
  expect(await send.exit).toMatchObject({ code: 6 });
  expectOneOwner(vm, hosts, "full");

  // Still full: the same, at once, and serve is still there.
  expect(await hosts.send(vm.folder, flags).exit).toMatchObject({ code: 6 });
  disk.empty();
  const again = hosts.send(vm.folder);
  const done = await again.waitFor("done");
  expect(await again.exit).toMatchObject({ code: 0 });
  expect(done.chunksSent).toBeLessThan(vm.dataChunks);
  expectMoved(vm, hosts, "room again");
  expect(await serve.kill("SIGTERM")).toMatchObject({ code: 0 });
});

test("a disk that is full when the VM is published leaves it released, owned by the destination and whole, and is settled by sending again", async () => {
  const store = join(disk.path, "store");
  const here = { sourceHome: join(root, "a"), destinationHome: join(root, "b"), store };
  const serving = await startServing({
    home: here.destinationHome,
    store,
    onJournalWrite: (when, label) => {
      if (when === "after" && label === "owner") disk.fill();
    },
  });
  const send = () => sendOnce({ home: here.sourceHome, vm: vm.spec, address: serving.address });
  const { error } = await send();
  expect(error).toMatchObject({ code: "in-doubt", exitCode: 7, message: expect.stringContaining("full") });
  expectOneOwner(vm, here, "full at the end");
  disk.empty();
  const again = await send();
  expect(again.error).toBeUndefined();
  expect(again.done!.chunksSent).toBe(0);
  expectMoved(vm, here, "room again");
});

const destinationWrites = ["receiving", "ready", "owner", "published-files", "closed"];
for (const label of destinationWrites) {
  test(`a destination whose journal's disk is full at "${label}" has room of its own for that`, async () => {
    const home = join(root, "disk", "home");
    const here = {
      sourceHome: join(root, "a"),
      destinationHome: join(disk.path, "home"),
      store: join(root, "store"),
    };
    const plan = join(root, "plan");
    planCrash(plan, { at: `before ${label}`, fill: join(root, "disk") });
    const serve = runMigrate([home, here.store, plan], {
      home,
      binary: [...disk.enter, ...crashProgram("crash-serve")],
    });
    const { address } = await serve.waitFor("listening");
    const to = { host: "127.0.0.1", port: Number(address.split(":")[1]) };
    const send = () => sendOnce({ home: here.sourceHome, vm: vm.spec, address: to, retryForMs: 0 });
    const first = await send();
    expect(first.error).toBeUndefined();
    expect(first.events).not.toContainEqual(expect.objectContaining({ event: "warning" }));
    expectMoved(vm, here, `full at ${label}`);
    expect(await serve.kill("SIGTERM")).toMatchObject({ code: 0 });
  });
}

const sourceWrites = ["sending", "attempt", "peer", "sealed", "released", "confirmed", "retired", "ended"];
for (const label of sourceWrites) {
  test(`a source whose journal's disk is full at "${label}" has room of its own for that`, async () => {
    const home = join(root, "disk", "home");
    const here = {
      sourceHome: join(disk.path, "home"),
      destinationHome: join(root, "b"),
      store: join(root, "store"),
    };
    const serving = await startServing({ home: here.destinationHome, store: here.store });
    const plan = join(root, "plan");
    const send = async () => {
      const sending = runMigrate([home, vm.folder, String(serving.address.port), "rename", plan], {
        home,
        binary: [...disk.enter, ...crashProgram("crash-send")],
      });
      return { exit: await sending.exit, events: sending.events };
    };
    planCrash(plan, { at: `before ${label}`, fill: join(root, "disk") });
    const { exit, events } = await send();
    expect(exit.code).toBe(0);
    expect(events).not.toContainEqual(expect.objectContaining({ event: "warning" }));
    expectMoved(vm, here, `full at ${label}`);
  });
}

test("a home on a full disk is said to be that, with exit code 6, and can still be looked at", async () => {
  hosts = await TwoHosts.make(join(root, "more"));
  const binary = [...disk.enter, builtBinary];
  const home = join(root, "disk", "home");
  const look = () => hosts.source(["status"], { home, binary });
  expect(await look().exit).toMatchObject({ code: 0 });
  disk.fill();
  const serve = hosts.startServe({ binary, env: { MIGRATE_HOME: home } });
  expect(await serve.waitFor("error")).toMatchObject({ code: "home-unusable" });
  expect(await serve.exit).toMatchObject({ code: 6 });
});
