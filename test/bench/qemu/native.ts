/** QEMU's own live migration: plain TCP or TLS, in one channel or in several, which may be compressed. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Qmp } from "../../support/guests/qmp.ts";
import { RunningGuest } from "../../support/guests/running-guest.ts";
import { migrationEnd, unlimitedBytesPerSec } from "../../support/guests/saved-ram.ts";
import { runChild } from "../../support/system/child.ts";
import { makeCertificates } from "./certificates.ts";
import type { QemuContender } from "./contender.ts";
import { cpuMsOf } from "./cpu-time.ts";

/** For all contenders the same. */
export const downtimeLimitMs = 300;

export interface NativeOptions {
  tls?: boolean;
  /** Channels for the RAM beside the first one; absent is QEMU's default, all in one. */
  multifdChannels?: number;
  /** Whether those channels are compressed, at QEMU's own level, which is 1. */
  zstd?: boolean;
}

export function native(name: string, title: string, options: NativeOptions): QemuContender {
  return {
    name,
    title,
    ...(options.zstd ? { whyNot: whyNoZstd } : {}),
    async prepare(source, folder, { address, destination: enter }) {
      mkdirSync(folder, { recursive: true });
      const destination = await RunningGuest.start({
        ...source.options,
        ...{ folder: join(folder, "destination"), incoming: "defer", enter },
      });
      try {
        const [from, to] = [await source.watch(), await destination.watch()];
        if (options.tls) {
          const certificates = join(folder, "tls");
          await makeCertificates(certificates, address);
          await useTls(from, certificates, { endpoint: "client", address });
          await useTls(to, certificates, { endpoint: "server" });
        }
        for (const qmp of [from, to]) await setUp(qmp, options);
        await to.execute("migrate-incoming", { uri: `tcp:${address}:0` });
        const uri = `tcp:${address}:${await listeningPort(to)}`;
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

/** One side's end of it; the client is told which address the server's certificate must name. */
type TlsEnd = { endpoint: "client"; address: string } | { endpoint: "server" };

async function useTls(qmp: Qmp, dir: string, end: TlsEnd): Promise<void> {
  const { endpoint } = end;
  const credentials = { "qom-type": "tls-creds-x509", id: "tls0", dir, endpoint, "verify-peer": true };
  await qmp.execute("object-add", credentials);
  const name = end.endpoint === "client" ? { "tls-hostname": end.address } : {};
  await qmp.execute("migrate-set-parameters", { "tls-creds": "tls0", ...name });
}

async function setUp(qmp: Qmp, { multifdChannels, zstd = false }: NativeOptions): Promise<void> {
  const multifd = multifdChannels !== undefined;
  await qmp.execute("migrate-set-capabilities", {
    capabilities: [{ capability: "multifd", state: multifd }],
  });
  await qmp.execute("migrate-set-parameters", {
    "max-bandwidth": unlimitedBytesPerSec,
    "downtime-limit": downtimeLimitMs,
    ...(multifd ? { "multifd-channels": multifdChannels } : {}),
    ...(zstd ? compression : {}),
  });
}

/** QEMU, qapi/migration.json: MultiFDCompression. Both sides must have it. */
const compression = { "multifd-compression": "zstd" } as const;

/** A QEMU that was built without zstd does not take the parameter, and says so in its answer. */
async function whyNoZstd(): Promise<string | undefined> {
  const commands = [
    { execute: "qmp_capabilities" },
    { execute: "migrate-set-parameters", arguments: compression },
    { execute: "quit" },
  ];
  const script =
    'printf "%s\\n" "$@" | qemu-system-x86_64 -no-user-config -nodefaults -machine none -display none -qmp stdio';
  const answers = await runChild(["sh", "-c", script, "sh", ...commands.map((each) => JSON.stringify(each))]);
  const refused = answers.split("\n").find((line) => line.startsWith('{"error"'));
  return refused === undefined ? undefined : `QEMU says ${refused.trim()}`;
}

/** The port that QEMU was given where it was told to take any. */
async function listeningPort(qmp: Qmp): Promise<string> {
  const answer = (await qmp.execute("query-migrate")) as { "socket-address"?: { port: string }[] };
  const port = answer["socket-address"]?.[0]?.port;
  if (port === undefined) throw new Error("QEMU does not say where it listens");
  return port;
}
