/** What a live move asks of a VM beside what any move does. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import type { VmModel } from "./definition/definition.ts";
import { valueIn } from "./definition/option-syntax.ts";

/**
 * Throws MigrateError "policy" if the VM's disks cannot be mirrored while it runs: the destination's QEMU serves them
 * by NBD, and 7.2 aborts where a virtio-scsi controller takes such a disk into its iothread.
 */
export function requireMirrorable({ parts }: Pick<VmModel, "parts">): void {
  const isDisk = parts.some((part) => part.kind === "device" && part.driver === "scsi-hd");
  const threaded = parts.find(
    (part) =>
      part.kind === "device" &&
      part.driver.startsWith("virtio-scsi") &&
      valueIn(part.pairs, "iothread") !== undefined,
  );
  if (!isDisk || threaded?.kind !== "device") return;
  throw new MigrateError(
    "policy",
    `The disks of ${threaded.driver} in an iothread cannot be mirrored while the VM runs: QEMU at the destination aborts`,
    { side: "source", hint: "--mode stop moves them." },
  );
}
