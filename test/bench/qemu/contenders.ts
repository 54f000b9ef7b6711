/** All that move a running guest in this benchmark, in the order of the table. */
import type { QemuContender } from "./contender.ts";
import { native } from "./native.ts";
import { ours } from "./ours.ts";

export const qemuContenders: readonly QemuContender[] = [
  ours("ours", "migrate", []),
  ours("ours-multifd", "migrate --multifd 2", ["--multifd", "2"]),
  ours("ours-off", "migrate --compress off", ["--compress", "off"]),
  native("tcp", "QEMU, plain TCP", {}),
  native("tls", "QEMU, TLS", { tls: true }),
  native("tls-multifd", "QEMU, TLS, 2 multifd channels", { tls: true, multifdChannels: 2 }),
  native("tls-multifd-zstd", "QEMU, TLS, 2 multifd channels, zstd", {
    ...{ tls: true, multifdChannels: 2, zstd: true },
  }),
];

export const contenderNames: readonly string[] = qemuContenders.map(({ name }) => name);
