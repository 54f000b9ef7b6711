/** Files that a trusted source brings with a running VM: none of them opens a file of the destination's host. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackRunningDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileArrivals, Started } from "../../support/hostile/hostile-arrivals.ts";
import { processesNaming } from "../../support/hostile/raw-running-vm.ts";
import type { RawFile } from "../../support/hostile/raw-vm.ts";
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

// [VM-8]
describe("an image that names a file of the host is not let near QEMU", () => {
  const images: [string, string[]][] = [
    ["as its backing file", ["-b", "SECRET", "-F", "raw"]],
    ["as its data file", ["-o", "data_file=SECRET,data_file_raw=on"]],
  ];

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

  const roles = [
    ["a disk", "disk", "if=virtio", false],
    ["what is only read", "boot", "if=virtio,readonly=on", false],
    ["what is only read, of a VM whose disks are mirrored", "boot", "if=virtio,readonly=on", true],
  ] as const;
  for (const [how, options] of images) {
    test.each(roles)(`${how}: %s`, async (_what, kind, more, live) => {
      const content = await imageOf(options);
      const words = ["-drive", `file=/vms/i,format=qcow2,${more}`];
      const begun = await at.offered({ words, files: [{ kind, name: "i", content }], machine: { live } });
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

  test("written once QEMU had started: the VM does not become whole, and runs nowhere", async () => {
    const good = await imageOf([]);
    const words = ["-drive", "file=/vms/i,format=qcow2,if=virtio"];
    const evil = await imageOf(images[1]![1]);
    const content = Buffer.alloc(Math.max(good.length, evil.length));
    good.copy(content);
    const begun = await at.offered({ words, files: [{ kind: "disk", name: "i", content }] });
    const { vm, peer, session } = begun;
    peer.send("start", {});
    const whole: Started = { ...begun, started: await peer.expect("started") };
    const again = await at.ground.joined(at.source, session, 2);
    const { laneToken } = await again.offer(vm.offer());
    const bytes = Buffer.alloc(content.length);
    evil.copy(bytes);
    await at.sendFiles(begun, laneToken, [vm.chunk(bytes)]);
    vm.files[0]!.content = bytes;
    const sent = await at.sendRam(whole);
    again.send("seal", vm.sealOf([sent]));
    const error = await again.error();
    expect(error.code).toBe("vm-invalid");
    expect(at.openFilesOf(begun)).not.toContain(at.secret);
    await again.ended();
    await at.expectGone(await at.again(begun, 3));
  });
});
