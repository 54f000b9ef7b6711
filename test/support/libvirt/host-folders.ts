/** The folders of a libvirt host as they are at first, with the configuration of its daemons. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hostMounts } from "./host-script.ts";

export interface HostConfiguration {
  /** More lines for qemu.conf; one that is there already is replaced by a later one of its name. */
  qemuConf?: readonly string[];
  /** The same for libvirtd.conf. */
  libvirtdConf?: readonly string[];
}

/** Makes them in a new folder. There is no network, not even libvirt's default one. */
export function makeHostFolders(base: string, options: HostConfiguration): void {
  for (const folder of [...Object.keys(hostMounts), "etc/qemu/networks", "lib/images"])
    mkdirSync(join(base, folder), { recursive: true });
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
