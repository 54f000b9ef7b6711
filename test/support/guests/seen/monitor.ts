/** A QEMU's monitor that a test listens in on. */
import { existsSync } from "node:fs";
import { callSocket } from "../../system/unix-socket.ts";
import { until } from "../../system/until.ts";
import { Qmp } from "../qmp.ts";

/**
 * Connects to a monitor on which a QEMU listens, or is about to. One client is served at a time:
 * another one waits for its greeting.
 */
export async function callMonitor(path: string, isRunning: () => boolean): Promise<Qmp> {
  const connected = Promise.withResolvers<Awaited<ReturnType<typeof callSocket>>>();
  const call = async (): Promise<boolean> => {
    if (!isRunning()) throw new Error("QEMU has ended");
    if (!existsSync(path)) return false;
    // The path is there a moment before anybody listens on it.
    const socket = await callSocket(path).catch(() => undefined);
    if (socket === undefined) return false;
    connected.resolve(socket);
    return true;
  };
  await until(call, `a monitor on ${path}`, 30_000);
  return await Qmp.negotiate(await connected.promise);
}

/** The state of the VM, as `query-status` names it. */
export async function statusOf(qmp: Qmp): Promise<string> {
  const { status } = (await qmp.execute("query-status")) as { status: string };
  return status;
}
