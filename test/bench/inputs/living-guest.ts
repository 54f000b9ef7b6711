/** A guest that boots beside a disk, works in its file system and powers itself off. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { guestImage } from "../../support/guests/guest-image.ts";
import { runChild, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { livingInit, workedLine } from "./living-init.ts";

export interface Work {
  /** What living-init.ts says of the two. */
  kind: "live" | "change";
  /** About how many MiB the guest writes. */
  mib: number;
}

const deadlineMs = 900_000;

/**
 * Lets a guest work in a disk with an ext4 file system and no partitions; the disk's other bytes, and the order in
 * which a qcow2 file grows, are then QEMU's own doing. Takes a folder for what it needs meanwhile.
 * Throws an Error with the end of the serial line where the guest does not say that it has unmounted.
 */
export async function workInDisk(
  disk: { path: string; format: "raw" | "qcow2" },
  work: Work,
  folder: string,
): Promise<void> {
  const { kernel, initrd, corpus } = await guestImage();
  const drive = (path: string, format: string, rest: string): string[] => [
    "-drive",
    `file=${path},format=${format},if=virtio,${rest}`,
  ];
  const qemu = startChild([
    ...["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"],
    ...["-machine", "pc", "-accel", "tcg", "-m", "512M", "-serial", "stdio"],
    // The same times in the file system on every run.
    ...["-rtc", "base=2024-01-01T00:00:00,clock=vm"],
    ...["-kernel", kernel, "-initrd", await withLivingInit(initrd, folder)],
    ...["-append", `console=ttyS0 quiet panic=-1 rdinit=/living-init work=${work.kind} mib=${work.mib}`],
    // A guest that a power cut loses is made again: nothing is written through to the disk below.
    ...drive(disk.path, disk.format, "cache=unsafe"),
    ...drive(corpus, "raw", "read-only=on"),
  ]);
  try {
    await withDeadline(
      qemu.exit,
      deadlineMs,
      () => `the end of the guest; it wrote: ${qemu.stdout().slice(-2000)}`,
    );
  } finally {
    await qemu.kill();
  }
  if (!qemu.stdout().includes(workedLine)) {
    throw new Error(
      `the guest ended before its work did: ${qemu.stdout().slice(-2000)} ${qemu.stderr().trim()}`,
    );
  }
}

/** A kernel unpacks one initramfs behind another, so ours is laid behind the one that has the modules and busybox. */
async function withLivingInit(initrd: string, folder: string): Promise<string> {
  const tree = join(folder, "living");
  mkdirSync(tree, { recursive: true });
  writeFileSync(join(tree, "living-init"), livingInit, { mode: 0o755 });
  const both = join(folder, "living-initrd.gz");
  const pack = 'cat "$1" > "$0" && find . | cpio -o -H newc --quiet | gzip -1 >> "$0"';
  await runChild(["sh", "-c", pack, both, initrd], { cwd: tree });
  return both;
}
