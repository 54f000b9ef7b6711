/** What a QEMU that runs here is called: by its own command line, and by libvirt. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { argumentsOf } from "../../platform/process-id.ts";
import { printable } from "../../protocol/printable.ts";

/** Where the system's libvirt keeps NAME.pid of each VM that it runs. */
const libvirtFolders = ["/run/libvirt/qemu"];

/** "the VM web1", "libvirt's VM web1"; null if it has no name. `folders` are libvirt's. Never throws. */
export function vmNameOf(pid: number, folders: readonly string[] = libvirtFolders): string | null {
  const ofLibvirt = libvirtName(pid, folders);
  if (ofLibvirt !== null) return `libvirt's VM ${printable(ofLibvirt)}`;
  const name = nameIn(argvOf(pid));
  return name === null ? null : `the VM ${printable(name)}`;
}

function libvirtName(pid: number, folders: readonly string[]): string | null {
  for (const folder of folders) {
    try {
      const found = readdirSync(folder)
        .filter((name) => name.endsWith(".pid"))
        .find((name) => readFileSync(join(folder, name), "latin1").trim() === String(pid));
      if (found !== undefined) return found.slice(0, -".pid".length);
    } catch {
      // No libvirt, or none that this user may look at.
    }
  }
  return null;
}

/** QEMU's -name: "web1", or "guest=web1" among other keys (qemu(1)). */
export function nameIn(argv: readonly string[]): string | null {
  const at = argv.findLastIndex((argument) => argument === "-name" || argument === "--name");
  const value = at < 0 ? undefined : argv[at + 1];
  if (value === undefined) return null;
  // A comma within a name is written twice.
  const keys = value.replaceAll(",,", "\0").split(",");
  const name = keys.find((key) => key.startsWith("guest="))?.slice("guest=".length) ?? keys[0];
  return name === undefined || name === "" || /^[\w-]+=/.test(name) ? null : name.replaceAll("\0", ",");
}

function argvOf(pid: number): string[] {
  try {
    return argumentsOf(pid) ?? [];
  } catch {
    return [];
  }
}
