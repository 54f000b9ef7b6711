/** The binary in a process that may have little: it says how much it needs, or works with what there is. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { makeSmallVm } from "../support/files/small-vm.ts";
import { expectMoved, sessionsIn } from "../support/moves/ownership.ts";
import { TwoHosts } from "../support/moves/two-hosts.ts";
import { builtBinary } from "../support/system/process.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let root = "";
let hosts: TwoHosts;
eachTestInFolder("migrate-few-", async (folder) => {
  root = folder;
  hosts = await TwoHosts.make(join(root, "hosts"));
  return () => hosts.close();
});

const within = (...limits: string[]) => [...["prlimit", ...limits], builtBinary];

test("serve with few descriptors lets an honest source in while a crowd stands at its door", async () => {
  const vm = makeSmallVm(join(root, "web1"));
  const serve = await hosts.serve({ binary: within("--nofile=64:64") });
  const { address } = await serve.waitFor("listening");
  const port = Number(address.slice(address.lastIndexOf(":") + 1));
  const crowd = await Promise.all(
    Array.from({ length: 120 }, () => {
      const socket = connect(port, "127.0.0.1");
      // Some are turned away as soon as they are there.
      return new Promise<Socket>((resolve) => {
        for (const event of ["connect", "error", "close"]) socket.on(event, () => resolve(socket));
      });
    }),
  );
  // All that wait were taken, or turned away: with no descriptor left the kernel would ask for ever.
  expect(readdirSync(`/proc/${serve.pid}/fd`).length).toBeLessThan(60);
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  for (const socket of crowd) socket.destroy();
  expectMoved(vm, hosts, "past the crowd");
});

test("serve says how many descriptors it needs, with exit code 6", async () => {
  const serve = hosts.startServe({ binary: within("--nofile=48:48") });
  expect(await serve.waitFor("error")).toMatchObject({
    code: "limit",
    message: expect.stringMatching(/^this process may have 48 files open, and a destination needs \d+$/),
    hint: expect.stringContaining("ulimit -n"),
  });
  expect(await serve.exit).toMatchObject({ code: 6 });
});

test("send says how many descriptors a VM of many files needs, before any connection", async () => {
  mkdirSync(join(root, "disks"));
  const paths = Array.from({ length: 40 }, (_, n) => join(root, "disks", `d${n}.raw`));
  for (const path of paths) writeFileSync(path, "a disk");
  const flags = ["--name", "web1", ...paths.flatMap((path) => ["--disk", path])];
  const send = hosts.sendFiles(flags, { binary: within("--nofile=64:64") });
  expect(await send.waitFor("error")).toMatchObject({
    code: "limit",
    message: "this process may have 64 files open, and sending a VM of 40 files needs 184",
  });
  expect(await send.exit).toMatchObject({ code: 6 });
  expect(hosts.proxy.connections).toBe(0);
  expect(sessionsIn(hosts.sourceHome, "source")).toEqual([]);
  expect(paths.every((path) => existsSync(path))).toBe(true);
});

test("a process with little address space is told so by every command", async () => {
  for (const words of [["id"], ["ls"], ["send", root, "127.0.0.1"]]) {
    const process = hosts.source(words, { binary: within(`--as=${2 * 1024 ** 3}`) });
    expect(await process.waitFor("error")).toMatchObject({
      code: "limit",
      message: expect.stringContaining("KiB of address space, and migrate needs 4194304"),
    });
    expect(await process.exit).toMatchObject({ code: 6 });
  }
});
