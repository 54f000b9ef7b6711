/** All that move a running guest in this benchmark, in the order of the table. */
import type { QemuContender } from "./contender.ts";
import { native } from "./native.ts";
import { ours } from "./ours.ts";

export const qemuContenders: readonly QemuContender[] = [
  ours("ours", "migrate", []),
  ours("ours-multifd", "migrate, 2 multifd channels", ["--multifd", "2"]),
  native("tcp", "QEMU, plain TCP", { tls: false, multifdChannels: 0 }),
  native("tls", "QEMU, TLS", { tls: true, multifdChannels: 0 }),
  native("tls-multifd", "QEMU, TLS, 2 multifd channels", { tls: true, multifdChannels: 2 }),
];

export const contenderNames: readonly string[] = qemuContenders.map(({ name }) => name);
