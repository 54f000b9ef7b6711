/** A made-up destination for command lines: every path in them that it chose begins with one of two folders. */
import type { QemuPlace } from "../../../src/vm/qemu/definition/command-line.ts";
import { modelOf, parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";

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
/** What a source tells of a VM: its definition, as JSON has it. */
export function wireModelOf(argv: readonly string[]): Record<string, unknown> {
  return JSON.parse(JSON.stringify(modelOf(parseDefinition(argv)))) as Record<string, unknown>;
}
