/** A made-up destination for command lines: every path in them that it chose begins with one of two folders. */
import type { QemuPlace } from "../../../src/vm/qemu/definition/command-line.ts";

export const storeFolder = "/store/web1";
export const runFolder = "/run/web1";

export function testPlace(changes: Partial<QemuPlace> = {}): QemuPlace {
  return {
    binary: "/usr/bin/qemu-system-x86_64",
    file: ({ name }) => `${storeFolder}/${name}`,
    socketFolder: runFolder,
    tpmSocket: `${runFolder}/swtpm`,
    allowTcg: false,
    kvmUsable: true,
    net: { kind: "user" },
    ...changes,
  };
}
