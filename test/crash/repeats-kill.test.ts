/** The compiled binary, killed while a VM is sent of which half is repeats of the rest, and started again. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../src/protocol/limits.ts";
import { makeSmallVm, overwrite, type SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, expectOneOwner } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import type { MigrateProcess } from "../support/system/process.ts";
import { SeededRandom } from "../support/system/random.ts";

const mebibyte = 1024 ** 2;
const { chunkBytes, pageBytes } = limits;
const firstBytes = 24 * mebibyte;
const secondBytes = 48 * mebibyte;

let root: string;
let hosts: TwoHosts;

eachTestHasHosts("migrate-repeats-kill-", (made) => {
  ({ root, hosts } = made);
});

/** A disk of which no page is like another, and one every other chunk of which has pages of the first in any order. */
function makeVm(): SmallVm {
  const whole = (bytes: number) => ({ bytes, extents: [{ at: 0, bytes }] });
  const disks = [whole(firstBytes), whole(secondBytes)];
  const vm = makeSmallVm(join(root, "web1"), { ram: null, disks });
  const random = new SeededRandom(1);
  const first = readFileSync(vm.files[0]!.path);
  for (let at = 0; at < secondBytes; at += 2 * chunkBytes) {
    const chunk = Buffer.alloc(chunkBytes);
    for (let page = 0; page < chunkBytes; page += pageBytes) {
      const from = random.below(firstBytes / pageBytes) * pageBytes;
      first.copy(chunk, page, from, from + pageBytes);
    }
    vm.files[1] = overwrite(vm.files[1]!, at, chunk);
  }
  return vm;
}

test("send and serve that are killed go on with the same command, and repeats are made of what is there", async () => {
  const vm = makeVm();
  const flags = ["--streams", "1", "--compress", "1", "--bandwidth", "24M", "--retry-for", "20s"];
  const start = () => hosts.send(vm.folder, flags);
  /** Waits until so much is there; gives how much it is, and what has passed over the link. */
  const until = async (send: MigrateProcess, mib: number) => {
    const { doneBytes } = await send.waitFor("progress", {
      where: (event) => event.doneBytes > mib * mebibyte,
    });
    return { doneBytes, wireBytes: hosts.proxy.bytes["to-destination"] };
  };
  let serve = await hosts.serve();
  let send = start();
  await until(send, 2);
  await send.kill();
  expectOneOwner(vm, hosts, "send killed while the first disk is sent");
  send = start();
  await until(send, 6);
  await serve.kill();
  expectOneOwner(vm, hosts, "serve killed while the first disk is sent");
  serve = await hosts.serve();
  await send.waitFor("link", { where: ({ state }) => state === "restored" });
  const [early, late] = [await until(send, 26), await until(send, 46)];
  // A half is repeats, but for those of the little that was sent before serve was killed: nobody remembers that.
  expect(late.wireBytes - early.wireBytes).toBeLessThan(0.85 * (late.doneBytes - early.doneBytes));
  await send.kill();
  expectOneOwner(vm, hosts, "send killed while repeats are sent");
  send = start();
  const done = await send.waitFor("done", { deadlineMs: 50_000 });
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expectMoved(vm, hosts, "killed three times");
  expect(done.chunksSent).toBeLessThan(vm.dataChunks);
  const verify = hosts.destination(["verify", join(hosts.store, vm.name)]);
  expect(await verify.waitFor("verified")).toMatchObject({ ok: true });
});
