/** Source files that are not as they should be, and VMs of unusual make. */
import { expect, test } from "bun:test";
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  makeSmallVm,
  overwrite,
  type SmallFile,
  type SmallVm,
  usualDisk,
} from "../support/files/small-vm.ts";
import type { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { eachTestHasLink } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, expectOneOwner, sessionsIn } from "../support/moves/ownership.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { TwoHosts } from "../support/moves/two-hosts.ts";
import { whileHeld } from "../support/system/lock-byte.ts";

const mebibyte = 1024 ** 2;
let root: string;
let hosts: { sourceHome: string; destinationHome: string; store: string };
let proxy: CuttingProxy;

eachTestHasLink("migrate-files-", (made) => {
  ({ root, hosts, proxy } = made);
});

const send = (vm: SmallVm, lanes = 1) =>
  sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: proxy.address, lanes });

interface Change {
  what: string;
  words: RegExp;
  make: (file: SmallFile) => void;
}

const changes: Change[] = [
  { what: "is written to", words: /changed/, make: (file) => void overwrite(file, 5, Buffer.from("x")) },
  { what: "shrinks", words: /shrank|shorter/, make: ({ path }) => truncateSync(path, mebibyte) },
  { what: "grows", words: /grew/, make: ({ path }) => appendFileSync(path, "x") },
  { what: "vanishes", words: /vanished/, make: ({ path }) => rmSync(path) },
  {
    what: "is replaced by another one",
    words: /replaced|changed/,
    make: ({ path, bytes }) => {
      writeFileSync(`${path}.new`, Buffer.alloc(bytes, 7));
      renameSync(`${path}.new`, path);
    },
  },
];

// [VM-10]
/** The first chunk, of the RAM: the disk has not been opened by the lane. The last one: all has been read. */
const moments = { "at its first chunk": 1, "at its last chunk": 8 };

for (const { what, words, make } of changes) {
  for (const [moment, chunk] of Object.entries(moments)) {
    for (const which of ["ram", "disk"] as const) {
      test(`a ${which} file that ${what} during the transfer, ${moment}, stops it: nothing is released`, async () => {
        const vm = makeSmallVm(join(root, "web1"));
        const file = vm.files.find(({ kind }) => kind === which)!;
        let chunks = 0;
        proxy.rewrite = (_direction, name) => {
          if (name === "chunk" && ++chunks === chunk) make(file);
        };
        const { error } = await send(vm);
        expect(error).toMatchObject({ code: "source-changed", side: "source", exitCode: 5 });
        expect(error!.message).toMatch(words);
        // The person is told which file; the destination neither its name here nor its folder.
        expect(error!.message).toContain(file.base);
        for (const { text } of proxy.errors) expect(text).not.toContain(root);
        expect(proxy.passed("release")).toBe(0);
      });
    }
  }
}

test("a file that is not there when send is called is refused with exit code 6, before any connection", async () => {
  const two = await TwoHosts.make(join(root, "two"), { insecure: true });
  const vm = makeSmallVm(join(root, "web1"));
  rmSync(vm.files[1]!.path);
  const gone = two.send(vm.folder);
  expect(await gone.waitFor("error")).toMatchObject({
    code: "vm-invalid",
    side: "source",
    message: expect.stringContaining("does not exist"),
  });
  expect(await gone.exit).toMatchObject({ code: 6 });
  // The name that a person gave it is known before there is a session.
  const given = two.sendFiles(["--name", "web2", "--disk", vm.files[1]!.path]);
  expect(await given.waitFor("error")).toMatchObject({ code: "vm-invalid", name: "web2" });
  expect(two.proxy.connections).toBe(0);
  await two.close();
});

test("a file that another program writes to is refused with exit code 6 and its name, before any connection", async () => {
  const two = await TwoHosts.make(join(root, "two"), { insecure: true });
  const vm = makeSmallVm(join(root, "web1"));
  const fd = openSync(vm.files[1]!.path, "r+");
  const held = two.send(vm.folder);
  expect(await held.waitFor("error")).toMatchObject({
    code: "vm-busy",
    side: "source",
    message: expect.stringMatching(
      new RegExp(`^${vm.files[1]!.base} is open for writing by .* \\(process ${process.pid}\\)$`),
    ),
  });
  closeSync(fd);
  expect(await held.exit).toMatchObject({ code: 6 });
  expect(two.proxy.connections).toBe(0);
  expect(sessionsIn(two.sourceHome, "source")).toEqual([]);
  await two.close();
});

test("a file that another program has come to hold by the end of the transfer stops it: nothing is released", async () => {
  const vm = makeSmallVm(join(root, "web1"));
  let fd: number | undefined;
  proxy.rewrite = (_direction, name) => {
    if (name === "chunk") fd ??= openSync(vm.files[0]!.path, "r+");
  };
  const { error } = await send(vm);
  closeSync(fd!);
  expect(error).toMatchObject({
    code: "vm-busy",
    message: expect.stringContaining("is open for writing by"),
  });
  for (const { text } of proxy.errors) expect(text).not.toContain(root);
  expect(proxy.passed("release")).toBe(0);
  expect((await send(vm)).error).toBeUndefined();
});

test("a file that changes during the transfer ends the binary with exit code 5, and the same command moves what it is then", async () => {
  const two = await TwoHosts.make(join(root, "two"));
  const vm = makeSmallVm(join(root, "web1"));
  await two.serve();
  const slow = two.send(vm.folder, ["--bandwidth", "3M"]);
  await slow.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  vm.files[0] = overwrite(vm.files[0]!, 0, Buffer.from("written by a VM that ran on"));
  expect(await slow.waitFor("error")).toMatchObject({ code: "source-changed", side: "source" });
  expect(await slow.exit).toMatchObject({ code: 5 });
  expectOneOwner(vm, two, "changed");
  expect(await two.send(vm.folder).exit).toMatchObject({ code: 0 });
  expectMoved(vm, two, "as it is now");
  await two.close();
});

test.each(["auto", "disk"])(
  "what another program writes into the destination's copy is found before the release (%s), and sent again",
  async (verify) => {
    const two = await TwoHosts.make(join(root, "two"), { insecure: true });
    const vm = makeSmallVm(join(root, "web1"), { content: "random" });
    await two.serve();
    const disk = vm.files.find(({ kind }) => kind === "disk")!;
    // All has come and is written, and nothing has been read back yet.
    two.proxy.rewrite = (_, name) => {
      if (name !== "seal") return;
      two.proxy.rewrite = undefined;
      const staging = readdirSync(two.store).find((name) => /^\.migrate-[0-9a-f]{32}$/.test(name))!;
      overwrite({ ...disk, path: join(two.store, staging, disk.base) }, 0, Buffer.from("flipped"));
    };
    const first = two.send(vm.folder, ["--verify", verify]);
    expect(await first.waitFor("error")).toMatchObject({ code: "integrity", side: "destination" });
    expect(await first.exit).toMatchObject({ code: 5 });
    expectOneOwner(vm, two, "flipped");
    const again = two.send(vm.folder, ["--verify", verify]);
    expect(await again.waitFor("done")).toMatchObject({ readBack: verify === "disk" ? "disk" : "memory" });
    expect(await again.exit).toMatchObject({ code: 0 });
    expectMoved(vm, two, "as it is at the source");
    await two.close();
  },
);

const shapes: [string, Parameters<typeof makeSmallVm>[1]][] = [
  ["switched off, without RAM", { ram: null }],
  ["without a disk", { disks: [] }],
  ["with an empty disk", { disks: [{ bytes: 0, extents: [] }, usualDisk] }],
  ["of nothing but empty files", { ram: { bytes: 0, extents: [] }, disks: [{ bytes: 0, extents: [] }] }],
  ["of one byte", { ram: null, disks: [{ bytes: 1, extents: [{ at: 0, bytes: 1 }] }] }],
  ["of nothing but zeros", { ram: null, disks: [{ bytes: 3 * mebibyte + 1, extents: [] }] }],
  [
    "of exactly one chunk",
    { ram: null, disks: [{ bytes: mebibyte, extents: [{ at: 0, bytes: mebibyte }] }] },
  ],
  ["with the state of a TPM", { tpm: { "tpm2-00.permall": 6013, "tpm2-00.volatilestate": 1 } }],
  [
    "of 64 files",
    {
      disks: Array.from({ length: 63 }, (_, i) => ({
        bytes: 5000 + i,
        extents: [{ at: 0, bytes: 100 + i }],
      })),
    },
  ],
];
for (const [what, shape] of shapes) {
  test(`a VM ${what} arrives as it was`, async () => {
    const vm = makeSmallVm(join(root, "web1"), shape);
    const { done, error } = await send(vm, 2);
    expect(error).toBeUndefined();
    expect(done).toMatchObject({
      bytes: vm.files.reduce((sum, { bytes }) => sum + bytes, 0),
      chunksSent: vm.dataChunks,
    });
    expectMoved(vm, hosts, what);
  });
}

test("a VM of 65 files is refused before any connection", async () => {
  const disks = Array.from({ length: 65 }, () => ({ bytes: 1, extents: [] }));
  const vm = makeSmallVm(join(root, "web1"), { ram: null, disks });
  const { error } = await send(vm);
  expect(error).toMatchObject({ code: "vm-invalid", exitCode: 6 });
  expect(proxy.connections).toBe(0);
});

test("a VM given by its files, from several folders, with a TPM's state folder, arrives as one", async () => {
  const two = await TwoHosts.make(join(root, "two"));
  const vm = makeSmallVm(join(root, "parts"), { name: "web1", tpm: { "tpm2-00.permall": 700 } });
  mkdirSync(join(root, "disks"));
  const [ram, disk] = vm.files;
  const path = join(root, "disks", disk!.base);
  renameSync(disk!.path, path);
  await two.serve();
  const flags = ["--name", "web1", "--ram", ram!.path, "--disk", path, "--tpm-state", join(vm.folder, "tpm")];
  expect(await two.sendFiles(flags).exit).toMatchObject({ code: 0 });
  // For the observer, the disk is where the other files are.
  renameSync(`${path}.migrated`, `${disk!.path}.migrated`);
  expectMoved(vm, two, "by its files");
  await two.close();
});

test("a VM whose disk a QEMU holds is refused with exit code 6, and leaves no session behind", async () => {
  const vm = makeSmallVm(join(root, "web1"));
  const disk = vm.files.find(({ kind }) => kind === "disk")!;
  await whileHeld(disk.path, async () => {
    const { error } = await send(vm);
    expect(error).toMatchObject({ code: "vm-running", exitCode: 6 });
    expect(sessionsIn(hosts.sourceHome, "source")).toEqual([]);
  });
});
