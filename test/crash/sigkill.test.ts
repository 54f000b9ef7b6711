/** The compiled binary, killed at random moments of a transfer and started again with the same command. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { makeSmallVm, randomStream, type SmallVm, type SmallVmOptions } from "../support/files/small-vm.ts";
import { baseName, storeBase } from "../support/files/stored-base.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, expectOneOwner } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import type { EventNamed, MigrateProcess } from "../support/system/process.ts";

const mebibyte = 1024 ** 2;
const windowBytes = 16 * mebibyte;

let root: string;
let hosts: TwoHosts;

eachTestHasHosts("migrate-sigkill-", (made) => {
  ({ root, hosts } = made);
});

const dataBytes = 200 * mebibyte + 4321;

function makeVm(content: SmallVmOptions["content"] = "random"): SmallVm {
  return makeSmallVm(join(root, "web1"), {
    ram: { bytes: 120 * mebibyte + 4321, extents: [{ at: 0, bytes: 120 * mebibyte + 4321 }] },
    disks: [{ bytes: 1024 * mebibyte, extents: [{ at: 500 * mebibyte, bytes: 80 * mebibyte }] }],
    content,
  });
}

/** Numbers from 0 up to 1, the same for the same seed. */
function fractions(seed: number): () => number {
  const bytes = randomStream(seed);
  return () => bytes(4).readUInt32BE(0) / 2 ** 32;
}

const victims = ["send", "serve", "send", "serve"] as const;
const flags = ["--streams", "1", "--bandwidth", "100M", "--retry-for", "20s"];

/** Sends a VM while both sides are killed by turns, and gives the last process's report. */
async function sendKilled(vm: SmallVm, flags: string[]): Promise<EventNamed<"done">> {
  const seed = Number(process.env.MIGRATE_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`seed ${seed} (MIGRATE_TEST_SEED)`);
  const fraction = fractions(seed);
  let serve = await hosts.serve();
  let send = hosts.send(vm.folder, flags);
  // A link that is lost costs a window of it again: twice as much there shows that no more is sent again.
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 2 * windowBytes });
  for (const victim of victims) {
    await send.waitFor("session");
    // The moment is what is random here; nothing is waited for.
    await Bun.sleep(fraction() * 450);
    if (victim === "send") {
      await send.kill();
      expectOneOwner(vm, hosts, `seed ${seed}, ${victim} killed`);
      send = hosts.send(vm.folder, flags);
    } else {
      await serve.kill();
      expectOneOwner(vm, hosts, `seed ${seed}, ${victim} killed`);
      serve = await hosts.serve();
      await send.waitFor("link", { where: ({ state }) => state === "restored" });
    }
  }
  const done = await send.waitFor("done", { deadlineMs: 50_000 });
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expectMoved(vm, hosts, `seed ${seed}`);
  // What had arrived is not sent again by the last process, which did not see it arrive.
  expect(done.chunksSent).toBeLessThan(vm.dataChunks);
  await verified(join(hosts.store, vm.name));
  return done;
}

test("send and serve killed by SIGKILL at random moments go on with the same command", async () => {
  await sendKilled(makeVm(), flags);
  const mostBytes = 1.01 * dataBytes + victims.length * windowBytes;
  expect(hosts.proxy.bytes["to-destination"]).toBeLessThanOrEqual(mostBytes);
});

test("send and serve killed by SIGKILL go on with a base, an index and compressed chunks", async () => {
  const vm = makeVm("compressible");
  storeBase(vm, hosts.store);
  // What is missing, compressed, is what this link carries in about as long as the other one takes.
  const narrow = ["--streams", "1", "--bandwidth", "150K", "--retry-for", "20s"];
  await sendKilled(vm, [...narrow, "--compress", "3", "--base", baseName]);
  expect(hosts.proxy.bytes["to-destination"]).toBeLessThan(0.01 * dataBytes);
});

test("SIGTERM ends serve with 0 and leaves its session resumable: a new serve, and the running send goes on", async () => {
  const vm = makeVm();
  const serve = await hosts.serve();
  const send = hosts.send(vm.folder, flags);
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 20 * mebibyte });
  expect(await serve.kill("SIGTERM")).toEqual({ code: 0, signal: null });
  expectOneOwner(vm, hosts, "after SIGTERM");
  const status = hosts.destination(["status"]);
  expect(await status.exit).toMatchObject({ code: 0 });
  expect(status.events).toMatchObject([
    { event: "status", name: vm.name, state: "receiving", owner: "source" },
  ]);
  await hosts.serve();
  const done = await send.waitFor("done", { deadlineMs: 50_000 });
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expectMoved(vm, hosts, "SIGTERM");
  // It finished the chunk in hand and said so: at most what was on the wire is sent twice.
  expect(done.chunksSent).toBeLessThanOrEqual(vm.dataChunks + windowBytes / mebibyte);
});

/** `migrate verify` at the destination finds the VM whole. */
async function verified(folder: string): Promise<void> {
  const verify: MigrateProcess = hosts.destination(["verify", folder]);
  expect(await verify.waitFor("verified")).toMatchObject({ ok: true });
  expect(await verify.exit).toEqual({ code: 0, signal: null });
}
