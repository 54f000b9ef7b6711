/** Tap devices that a VM's QEMU is handed: made by this process, or by QEMU's helper for who may not. */
import { closeSync, existsSync } from "node:fs";
import { askHelperForTap, openTap } from "../../platform/confine/tap.ts";
import { MigrateError } from "../../protocol/errors.ts";

/** Where distributions have QEMU's helper for bridges. */
const helpers = [
  "/usr/lib/qemu/qemu-bridge-helper",
  "/usr/libexec/qemu-bridge-helper",
  "/usr/lib/qemu-bridge-helper",
  "/usr/local/libexec/qemu-bridge-helper",
];

/**
 * Makes a port of each bridge; the caller closes the descriptors. Throws MigrateError "qemu-failed" if one cannot be
 * made, and then has made none.
 */
export function openTaps(bridges: readonly string[]): number[] {
  const opened: number[] = [];
  try {
    for (const bridge of bridges) opened.push(openPort(bridge));
    return opened;
  } catch (cause) {
    for (const fd of opened) closeSync(fd);
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new MigrateError("qemu-failed", "the destination could not give the VM a port of its bridge", {
      side: "destination",
      hint: `It says: ${said}. See that the bridge is there; an ordinary user needs QEMU's bridge helper with the setuid bit, and "allow" in its bridge.conf.`,
      cause,
    });
  }
}

function openPort(bridge: string): number {
  try {
    return openTap(bridge);
  } catch (thrown) {
    const helper = helpers.find((path) => existsSync(path));
    if ((thrown as { code?: unknown }).code !== "EPERM" || helper === undefined) throw thrown;
    return askHelperForTap(helper, bridge);
  }
}
