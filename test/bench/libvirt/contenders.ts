/** All that move a libvirt domain in this benchmark, in the order of the table. */
import type { LibvirtContender } from "./contender.ts";
import { ours } from "./ours.ts";
import { plainTcp, ssh, tls } from "./virsh-migrate.ts";

export const libvirtContenders: readonly LibvirtContender[] = [
  ours("ours", "migrate"),
  ours("ours-off", "migrate --compress off", { sendFlags: ["--compress", "off"] }),
  ours("ours-insecure", "migrate --insecure", { flags: ["--insecure"] }),
  plainTcp,
  tls,
  ssh,
];

export const contenderNames: readonly string[] = libvirtContenders.map(({ name }) => name);
