/** The folders of a libvirt host as they are at first, with the configuration of its daemons. */
import { chmodSync, chownSync, copyFileSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { GuestImage } from "../guests/guest-image.ts";
import { serialFolder } from "./emulator-cache.ts";
import { hostMounts, hugepagesFolder } from "./host-script.ts";

export interface HostConfiguration {
  /** More lines for qemu.conf; one that is there already is replaced by a later one of its name. */
  qemuConf?: readonly string[];
  /** The same for libvirtd.conf. */
  libvirtdConf?: readonly string[];
  /** Gives guests that want them huge pages of 2 MiB. */
  hugepages?: boolean;
}

/**
 * For `qemuConf`: QEMU and swtpm run as the users that Debian's packages make for them, not as root, and libvirt gives
 * them their files and takes these back.
 */
export const asTheirUsers: readonly string[] = [
  'user = "libvirt-qemu"',
  'group = "libvirt-qemu"',
  'swtpm_user = "tss"',
  'swtpm_group = "tss"',
  "remember_owner = 1",
];

/** Where a host has the kernel and the initramfs of the ticking guest: its own, for libvirt changes their owner. */
export const bootFolder = "/var/lib/libvirt/boot";

/**
 * Makes them in a new folder, with the guest to boot. There is no network, not even libvirt's default one. Who owns
 * what is as on the machine.
 */
export function makeHostFolders(base: string, options: HostConfiguration, guest: GuestImage): void {
  for (const folder of [...Object.keys(hostMounts), "etc/qemu/networks", "lib/images"])
    mkdirSync(join(base, folder), { recursive: true });
  for (const [folder, path] of Object.entries(hostMounts)) {
    const known = statSync(path, { throwIfNoEntry: false });
    if (known !== undefined) chownSync(join(base, folder), known.uid, known.gid);
  }
  // Every QEMU of a host writes there, whoever it runs as.
  mkdirSync(join(base, "log", basename(serialFolder)));
  chmodSync(join(base, "log", basename(serialFolder)), 0o1777);
  mkdirSync(join(base, "lib", basename(bootFolder)));
  for (const path of [guest.kernel, guest.initrd])
    copyFileSync(path, join(base, "lib", basename(bootFolder), basename(path)));
  writeFileSync(join(base, "bridges"), "");
  writeFileSync(
    join(base, "etc", "libvirtd.conf"),
    conf([
      `host_uuid = "${crypto.randomUUID()}"`,
      'auth_unix_rw = "none"',
      'auth_unix_ro = "none"',
      'unix_sock_group = "root"',
      'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"',
      ...(options.libvirtdConf ?? []),
    ]),
  );
  writeFileSync(
    join(base, "etc", "qemu.conf"),
    conf([
      'user = "root"',
      'group = "root"',
      'swtpm_user = "root"',
      'swtpm_group = "root"',
      'security_driver = "none"',
      "remember_owner = 0",
      // A guest's QEMU sees its host's mounts, which is how it is known as one of this host.
      "namespaces = []",
      ...(options.hugepages === true ? [`hugetlbfs_mount = "${hugepagesFolder}"`] : []),
      // Two hosts would share the groups of a domain that both have, and a container may not make any.
      "cgroup_controllers = []",
      ...(options.qemuConf ?? []),
    ]),
  );
}

/** Lines `name = value`, of which the last one of a name stands. */
function conf(lines: readonly string[]): string {
  const byName = new Map(lines.map((line) => [line.split("=")[0]!.trim(), line]));
  return `${[...byName.values()].join("\n")}\n`;
}
