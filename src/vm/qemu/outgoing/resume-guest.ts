/** Resuming a guest, at the source after a move that was given up, or where it has arrived (qapi/misc.json, cont). */
import type { Qmp } from "../qmp/qmp.ts";
import { QmpError } from "../qmp/qmp-error.ts";
import { announce } from "./announce.ts";
import { runState } from "./guest-watch.ts";

/** Run states of a VM that runs; "suspended" is the guest's own sleep, which `cont` leaves alone. */
export const runningStates: readonly string[] = ["running"];

/** Whether the VM runs. Throws QmpError. */
async function isGuestRunning(qmp: Qmp): Promise<boolean> {
  return runningStates.includes(await runState(qmp));
}

/**
 * Resumes the VM, and lets its network cards say where it is now, unless `announces` is false: also one that runs already,
 * since a destination's QEMU has said that it is there as soon as it had loaded it. Returns "runs"; or "refused" if QEMU answered with an error and the VM is still stopped.
 * Throws QmpError if it is not known whether the VM runs. `asking` is called right before QEMU is asked, so that
 * an error before that call has changed nothing.
 */
export async function resumeGuest(
  qmp: Qmp,
  { asking = () => {}, announces = true }: { asking?: () => void; announces?: boolean } = {},
): Promise<{ outcome: "runs" } | { outcome: "refused"; why: QmpError }> {
  if (!(await isGuestRunning(qmp))) {
    asking();
    try {
      await qmp.execute("cont");
    } catch (thrown) {
      if (!(thrown instanceof QmpError) || thrown.kind !== "refused") throw thrown;
      if (!(await isGuestRunning(qmp))) return { outcome: "refused", why: thrown };
    }
  }
  if (announces) await announce(qmp);
  return { outcome: "runs" };
}
