/** QEMU's own live migration over loopback: plain TCP, TLS, and TLS with several channels. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Qmp } from "../../support/qmp.ts";
import { RunningGuest } from "../../support/running-guest.ts";
import { migrationEnd, unlimitedBytesPerSec } from "../../support/saved-ram.ts";
import { makeCertificates } from "./certificates.ts";
import type { QemuContender } from "./contender.ts";
import { cpuMsOf } from "./cpu-time.ts";

/** For all contenders the same. */
export const downtimeLimitMs = 300;

export interface NativeOptions {
  tls: boolean;
  /** Channels for the RAM beside the first one; 0 is QEMU's default, all in one. */
  multifdChannels: number;
}

export function native(name: string, title: string, options: NativeOptions): QemuContender {
  return {
    name,
    title,
    async prepare(source, folder) {
      mkdirSync(folder, { recursive: true });
      const destination = await RunningGuest.start({
        ...source.options,
        folder: join(folder, "destination"),
        incoming: "defer",
      });
      try {
        const [from, to] = [await source.watch(), await destination.watch()];
        if (options.tls) {
          const certificates = join(folder, "tls");
          await makeCertificates(certificates);
          await useTls(from, certificates, "client");
          await useTls(to, certificates, "server");
        }
        for (const qmp of [from, to]) await setUp(qmp, options);
        await to.execute("migrate-incoming", { uri: "tcp:127.0.0.1:0" });
        const uri = `tcp:127.0.0.1:${await listeningPort(to)}`;
        const left = await migrationEnd(from);
        const arrived = await migrationEnd(to);
        return {
          async move() {
            await from.execute("migrate", { uri });
            await Promise.all([left(), arrived()]);
            const { downtime } = (await from.execute("query-migrate")) as { downtime?: number };
            return { downtimeMs: downtime, ownSeconds: undefined };
          },
          sourceCpuMs: () => 0,
          destinationCpuMs: () => cpuMsOf(destination.pid),
          confirm: async (tick) => await destination.waitForTick(tick, 10_000),
          cleanUp: async () => await destination.kill(),
        };
      } catch (error) {
        await destination.kill();
        throw error;
      }
    },
  };
}

async function useTls(qmp: Qmp, dir: string, endpoint: "client" | "server"): Promise<void> {
  const credentials = { "qom-type": "tls-creds-x509", id: "tls0", dir, endpoint, "verify-peer": true };
  await qmp.execute("object-add", credentials);
  const name = endpoint === "client" ? { "tls-hostname": "127.0.0.1" } : {};
  await qmp.execute("migrate-set-parameters", { "tls-creds": "tls0", ...name });
}

async function setUp(qmp: Qmp, { multifdChannels }: NativeOptions): Promise<void> {
  const multifd = multifdChannels > 0;
  await qmp.execute("migrate-set-capabilities", {
    capabilities: [{ capability: "multifd", state: multifd }],
  });
  await qmp.execute("migrate-set-parameters", {
    "max-bandwidth": unlimitedBytesPerSec,
    "downtime-limit": downtimeLimitMs,
    ...(multifd ? { "multifd-channels": multifdChannels } : {}),
  });
}

/** The port that QEMU was given where it was told to take any. */
async function listeningPort(qmp: Qmp): Promise<string> {
  const answer = (await qmp.execute("query-migrate")) as { "socket-address"?: { port: string }[] };
  const port = answer["socket-address"]?.[0]?.port;
  if (port === undefined) throw new Error("QEMU does not say where it listens");
  return port;
}
