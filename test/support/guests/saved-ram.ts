/** QEMU's RAM and devices as a migration stream in a file: saving it and going on from it. */
import { createReadStream, createWriteStream, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { callSocket, expectCaller } from "../system/unix-socket.ts";
import type { Qmp } from "./qmp.ts";

/** Faster than any link: QEMU's default throttles a migration to 128 MiB/s. */
export const unlimitedBytesPerSec = 2 ** 40;

/**
 * Writes RAM and device state to a file. The guest should be stopped. `folder` is one for a socket.
 * Throws where QEMU's migration fails.
 */
export async function saveRam(qmp: Qmp, folder: string, path: string): Promise<void> {
  const socketPath = join(folder, "save");
  const caller = await expectCaller(socketPath);
  const written = caller.socket.then(async (socket) => await pipeline(socket, createWriteStream(path)));
  written.catch(() => {});
  const ended = await migrationEnd(qmp);
  await qmp.execute("migrate-set-parameters", { "max-bandwidth": unlimitedBytesPerSec });
  await qmp.execute("migrate", { uri: `unix:${socketPath}` });
  await ended();
  await written;
}

/** Loads a saved RAM stream into a QEMU that was started with `-incoming defer`; it is then stopped. */
export async function loadRam(qmp: Qmp, folder: string, path: string): Promise<void> {
  const socketPath = join(folder, "load");
  const ended = await migrationEnd(qmp);
  await qmp.execute("migrate-incoming", { uri: `unix:${socketPath}` });
  const file = createReadStream(path, { highWaterMark: 1 << 20 });
  // QEMU closes the connection once it has read what it needs, now and then before this end is done with it, which
  // is an error here and none of the guest's: whether it is loaded is QEMU's to say.
  const sent = pipeline(file, await callSocket(socketPath)).catch(() => {});
  await ended();
  await sent;
  rmSync(socketPath, { force: true });
}

/**
 * Call before the migration begins, on either side; what it gives waits for the end (2 minutes at
 * most), and throws where it failed.
 */
export async function migrationEnd(qmp: Qmp): Promise<() => Promise<void>> {
  await qmp.execute("migrate-set-capabilities", { capabilities: [{ capability: "events", state: true }] });
  const isEnd = (status: unknown): boolean => status === "completed" || status === "failed";
  const end = qmp.nextEvent("MIGRATION", ({ data }) => isEnd(data.status), 120_000);
  return async () => {
    const { data } = await end;
    if (data.status === "completed") return;
    const details = await qmp.execute("query-migrate");
    throw new Error(`QEMU's migration failed: ${JSON.stringify(details)}`);
  };
}
