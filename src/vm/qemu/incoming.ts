/**
 * What the destination tells its QEMU, which was started with `-S -incoming defer`: what to expect, and
 * when to resume the guest. QEMU docs/devel/migration/main.rst; qapi/migration.json, qapi/block-export.json.
 */
import * as v from "valibot";
import { MigrateError } from "../../protocol/errors.ts";
import type { QemuVersion } from "../../protocol/processor.ts";
import { runState } from "./outgoing/guest-watch.ts";
import { runningStates } from "./outgoing/resume-guest.ts";
import type { Qmp } from "./qmp/qmp.ts";
import { QmpError } from "./qmp/qmp-error.ts";

export interface Incoming {
  /** Unix socket on which QEMU is to take RAM and devices. */
  ramPath: string;
  /** Channels beside the main one. */
  channels: number;
  /** Unix socket of the NBD server, and the nodes that it offers as disk-0, disk-1, …; null if no disk is mirrored. */
  nbd: { path: string; nodes: readonly string[] } | null;
  /** False: QEMU is not to say where the VM's cards are as soon as it has loaded it. */
  announces: boolean;
}

/** Run states in which a VM that has been loaded waits for `cont`. */
const waitingStates: readonly string[] = ["paused", "prelaunch", "postmigrate", "suspended"];

const migrationSchema = v.object({ status: v.optional(v.string()) });

/** The first QEMU that knows all of what follows: block-export-add (qapi/block-export.json). */
const oldestQemu = { major: 5, minor: 2 } as const;

/** Throws MigrateError "policy" if a QEMU of this version is too old to take in a VM that runs. */
export function requireIncoming({ major, minor }: QemuVersion): void {
  if (major > oldestQemu.major || (major === oldestQemu.major && minor >= oldestQemu.minor)) return;
  const needed = `${oldestQemu.major}.${oldestQemu.minor}`;
  throw new MigrateError(
    "policy",
    `the destination's QEMU is ${major}.${minor}; to take in a VM that runs it must be ${needed} or later`,
    { side: "destination" },
  );
}

/**
 * Makes QEMU listen for the disks and for the RAM. Throws MigrateError "policy" if it is too old, and QmpError.
 */
export async function expectIncoming(
  qmp: Qmp,
  { ramPath, channels, nbd, announces }: Incoming,
): Promise<void> {
  requireIncoming(qmp.version);
  const capabilities = [
    { capability: "events", state: true },
    { capability: "multifd", state: channels > 0 },
    // Images that come as files are read again when the VM resumes and not a moment earlier: by then they
    // have been looked at as they are. Those that are exported are QEMU's own from the export on.
    { capability: "late-block-activate", state: true },
  ];
  await qmp.execute("migrate-set-capabilities", { capabilities });
  if (channels > 0) await qmp.execute("migrate-set-parameters", { "multifd-channels": channels });
  if (!announces) await qmp.execute("migrate-set-parameters", { "announce-rounds": 0 });
  if (nbd !== null && nbd.nodes.length > 0) {
    await qmp.execute("nbd-server-start", { addr: { type: "unix", data: { path: nbd.path } } });
    for (const [n, node] of nbd.nodes.entries()) {
      await qmp.execute("block-export-add", {
        type: "nbd",
        id: `migrate-export-${n}`,
        "node-name": node,
        name: `disk-${n}`,
        writable: true,
      });
    }
  }
  await qmp.execute("migrate-incoming", { uri: `unix:${ramPath}` });
}

/**
 * Resolves once QEMU has loaded RAM and devices and the disks are its own. Throws MigrateError
 * "qemu-failed" if it could not load them, or is not done after `timeoutMs`; and QmpError.
 */
export async function loadedIncoming(
  qmp: Qmp,
  { isExporting, timeoutMs }: { isExporting: boolean; timeoutMs: number },
): Promise<void> {
  const end = qmp.nextEvent("MIGRATION", ({ data }) => isOver(data.status), { timeoutMs });
  end.catch(() => {});
  let status = (await qmp.ask(migrationSchema, "query-migrate")).status;
  if (!isOver(status)) {
    try {
      status = (await end).data.status as string;
    } catch (thrown) {
      if (thrown instanceof QmpError && thrown.kind === "silent") throw notLoaded("is still loading the VM");
      throw thrown;
    }
  }
  if (status !== "completed") throw notLoaded("could not load the VM");
  // Between the last byte and this QEMU ends by itself if a device does not like its state.
  const state = await runState(qmp);
  if (!waitingStates.includes(state) && !runningStates.includes(state)) throw notLoaded(`is ${state}`);
  if (isExporting) {
    await qmp.execute("nbd-server-stop").catch((thrown) => {
      // Asked again after a link was lost: then it has stopped.
      if (!(thrown instanceof QmpError) || thrown.kind !== "refused") throw thrown;
    });
  }
}

function isOver(status: unknown): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}

function notLoaded(how: string): MigrateError {
  return new MigrateError("qemu-failed", `the destination's QEMU ${how}`, { side: "destination" });
}
