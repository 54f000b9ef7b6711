/** Which character devices of a VM are its serial lines: those behind which a person may sit. Pure. */
import type { ChardevPart, VmModel } from "../model.ts";
import { valueIn } from "../option-syntax.ts";

/** Devices that are serial lines or consoles to a guest; not those by which its agents speak. */
const serialDevices = /^(?:isa-serial|pci-serial(?:-[24]x)?|virtconsole)$/;

/**
 * The ids of the character devices with a socket that are serial lines, in the order of the command line: the first
 * one is port 0.
 */
export function serialLines({ parts }: Pick<VmModel, "parts">): string[] {
  const sockets = new Set(
    parts.flatMap((part) => (part.kind === "chardev" && part.backend === "socket" ? [part.id] : [])),
  );
  const ids = parts.flatMap((part) => {
    if (part.kind === "serial") return [part.chardev];
    if (part.kind !== "device" || !serialDevices.test(part.driver)) return [];
    // A card with more than one line numbers them from 1.
    return ["chardev", "chardev1", "chardev2", "chardev3", "chardev4"].flatMap(
      (key) => valueIn(part.pairs, key) ?? [],
    );
  });
  return [...new Set(ids)].filter((id) => sockets.has(id));
}

/** Names in the run folder that are not for a VM's own sockets. */
const ownNames = new Set(["qmp", "qemu", "swtpm", "tpm", "vm", "processes", "keeper", "relay", "vnc"]);
/** Ids that are a socket's name as they are: without a dot they are no file of the VM, and ours begin otherwise. */
const socketId = /^(?!migrate|tpm-)[A-Za-z][\w-]{0,31}$/;

/** The name that the socket of a character device has in the run folder. */
export function socketName({ id }: Pick<ChardevPart, "id">): string {
  return socketId.test(id) && !ownNames.has(id) ? id : `chardev.${id}`;
}

/** The name of QEMU's own socket for a serial line, behind which its keeper sits. */
export function qemuSerialName(number: number): string {
  return `migrate-serial-${number}`;
}
