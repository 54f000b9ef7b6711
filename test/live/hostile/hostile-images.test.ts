/** Files that a trusted source brings with a running VM: none of them opens a file of the destination's host. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackRunningDestination } from "../../support/hostile/grounds-of-tests.ts";
import {
  type Begun,
  disk,
  drive,
  type HostileArrivals,
  type Started,
} from "../../support/hostile/hostile-arrivals.ts";
import { processesNaming, RawRunningVm } from "../../support/hostile/raw/running-vm.ts";
import type { RawFile } from "../../support/hostile/raw/vm.ts";
import { runChild } from "../../support/system/child.ts";

let at: HostileArrivals;

testsAttackRunningDestination((made) => {
  at = made;
});

describe("a path of the source's choosing is a name in the VM's own folder", () => {
  test.each([
    ["a disk", "disk", ""],
    ["what is only read", "boot", ",readonly=on"],
  ] as const)("as %s", async (_what, kind, more) => {
    const words = ["-drive", `file=${at.secret},format=raw,if=virtio${more}`];
    const file: RawFile = { kind, name: "secret", content: Buffer.alloc(4096, 1) };
    const begun = await at.started({ words, files: [file] });
    const open = at.openFilesOf(begun);
    expect(open).not.toContain(at.secret);
    expect(open).toContain(at.ground.staged(begun.session, "secret"));
    await at.expectGone(begun);
  });
});

async function imageOf(options: string[]): Promise<Buffer> {
  const path = join(at.ground.root, "image");
  // qemu-img clears a data file that it makes an image for.
  const before = readFileSync(at.secret);
  const words = options.map((option) => option.replace("SECRET", at.secret));
  await runChild(["qemu-img", "create", "-q", "-f", "qcow2", ...words, path, "1M"]);
  writeFileSync(at.secret, before);
  const image = readFileSync(path);
  rmSync(path);
  return image;
}

const images: [string, string[]][] = [
  ["as its backing file", ["-b", "SECRET", "-F", "raw"]],
  ["as its data file", ["-o", "data_file=SECRET,data_file_raw=on"]],
];

/** Two images, as long as each other. */
async function goodAndEvil(options: string[]): Promise<[good: Buffer, evil: Buffer]> {
  const made = [await imageOf([]), await imageOf(options)];
  const bytes = Math.max(...made.map(({ length }) => length));
  const [good, evil] = made.map((image) => Buffer.concat([image, Buffer.alloc(bytes - image.length)]));
  return [good!, evil!];
}

async function expectTurnedAway({ vm, session }: Begun, laneToken: string, bytes: Buffer): Promise<void> {
  const lane = await at.ground.connect({ identity: at.source });
  await lane.hello({ role: "lane", session, laneToken }).expect("welcome");
  lane.sendBytes(vm.chunk(bytes));
  expect((await lane.error()).code).toBe("vm-invalid");
}

// [VM-8] [IMG-3]
describe("an image that names a file of the host is not let near QEMU", () => {
  const roles = [
    ["a disk", "disk", "if=virtio", false],
    ["what is only read", "boot", "if=virtio,readonly=on", false],
    ["what is only read, of a VM whose disks are mirrored", "boot", "if=virtio,readonly=on", true],
  ] as const;
  for (const [how, options] of images) {
    test.each(roles)(`${how}: %s`, async (_what, kind, more, live) => {
      const [content, evil] = await goodAndEvil(options);
      const words = ["-drive", `file=/vms/i,format=qcow2,${more}`];
      const begun = await at.offered({ words, files: [{ kind, name: "i", content }], machine: { live } });
      // No lane lets it through: it lies there as another program's doing.
      writeFileSync(at.ground.staged(begun.session, "i"), evil);
      const error = await begun.peer.send("start", {}).error();
      expect(error).toEqual({
        code: "vm-invalid",
        message: expect.stringContaining("i is not a whole disk"),
      });
      expect(processesNaming(begun.run)).toEqual([]);
      expect(existsSync(begun.run)).toBe(false);
      await begun.peer.ended();
      await at.expectGone(await at.again(begun));
    });
  }

  test("an encrypted one neither: there is no key for it", async () => {
    const secret = ["--object", "secret,id=s,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=s"];
    const content = await imageOf(secret);
    const words = ["-drive", "file=/vms/i,format=qcow2,if=virtio"];
    const begun = await at.offered({ words, files: [{ kind: "disk", name: "i", content, format: "qcow2" }] });
    expect(await begun.peer.send("start", {}).error()).toEqual({
      code: "vm-invalid",
      message: expect.stringContaining("i is encrypted"),
    });
    await begun.peer.ended();
    await at.expectGone(await at.again(begun));
  });

  test.each(images)(
    "%s, written once QEMU had started: it never lies there, and the VM runs",
    async (_how, options) => {
      const words = ["-drive", "file=/vms/i,format=qcow2,if=virtio"];
      const [content, evil] = await goodAndEvil(options);
      const begun = await at.offered({
        words,
        files: [{ kind: "disk", name: "i", content, format: "qcow2" }],
      });
      const { vm, peer, session, run } = begun;
      peer.send("start", {});
      const whole: Started = { ...begun, started: await peer.expect("started") };
      const again = await at.ground.joined(at.source, session, 2);
      const { laneToken } = await again.offer(vm.offer());
      await expectTurnedAway(begun, laneToken, evil);
      const sent = await at.sendRam(whole);
      // While QEMU loads the VM, which may make it read its images anew.
      await expectTurnedAway(begun, laneToken, evil);
      expect(readFileSync(at.ground.staged(session, "i")).equals(content)).toBe(true);
      again.send("seal", vm.sealOf([sent]));
      await again.expect("ready");
      await again.send("release", {}).expect("owned");
      expect(processesNaming(run)).toHaveLength(1);
      expect(at.openFilesOf(begun)).not.toContain(at.secret);
      await again.send("confirm", {}).expect("closed");
      rmSync(join(at.ground.store, vm.name), { recursive: true });
    },
  );
});

// [IMG-2]
test.each(images)(
  "a guest that has written a head that names a file on its raw disk, %s, is moved as any",
  async (_how, options) => {
    const content = (await imageOf(options)).subarray(0, 65_536);
    const words = ["-drive", "file=/vms/a,format=raw,if=virtio"];
    const begun = await at.started({ words, files: [{ kind: "disk", name: "a", content, format: "raw" }] });
    const { vm, peer, run } = begun;
    peer.send("seal", vm.sealOf([await at.sendRam(begun)]));
    await peer.expect("ready");
    await peer.send("release", {}).expect("owned");
    expect(processesNaming(run)).toHaveLength(1);
    expect(at.openFilesOf(begun)).not.toContain(at.secret);
    await peer.send("confirm", {}).expect("closed");
    const folder = join(at.ground.store, vm.name);
    expect(readFileSync(join(folder, "a")).equals(content)).toBe(true);
    const { files } = JSON.parse(readFileSync(join(folder, "vm.json"), "utf8"));
    expect(files).toEqual([expect.objectContaining({ file: "a", format: "raw" })]);
    rmSync(folder, { recursive: true });
  },
);

// [IMG-1] [VM-2]
test("an image that is declared otherwise than the VM's QEMU has it is refused", async () => {
  const vm = new RawRunningVm(at.nextName, drive, { files: [{ ...disk, format: "qcow2" }] });
  const peer = await at.ground.joined(at.source);
  expect(await peer.sendJson("offer", vm.offer()).error()).toEqual({
    code: "policy",
    message: expect.stringContaining("another format"),
  });
});
