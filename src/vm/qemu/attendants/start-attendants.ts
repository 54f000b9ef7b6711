/** Starting what attends a QEMU once that listens, the keeper of its serial lines and the relay of its screen, and ending it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ProcessId, waitForEnd } from "../../../platform/process-id.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { endDaemon, startDaemon } from "../daemon.ts";
import { type VncPolicy, vncOf, vncSocketName } from "../definition/consoles/display.ts";
import { serialLines, socketName } from "../definition/consoles/serial-lines.ts";
import type { VmModel } from "../definition/model.ts";
import { keeperLogName, type NotedProcesses, type RunFolder, relayLogName } from "../run-folder.ts";
import { endSwtpm } from "../swtpm.ts";
import type { VmPrograms } from "../vm-programs.ts";
import { serialNames } from "./names.ts";
import { firstVncPort, vncPort } from "./vnc-port.ts";

/** The roles of this program that attend a QEMU: see commands/serial-keeper.ts and vnc-relay.ts. */
const keeperRole = "serial-keeper";
const relayRole = "vnc-relay";
/** How long it may take until it listens, in milliseconds. */
const startTimeoutMs = 15_000;
const pollMs = 5;
/** How long it may take to end when its QEMU has, in milliseconds. */
const followMs = 3000;

/** The serial lines of a VM, as its run folder has them. */
export function serialNamesOf(model: Pick<VmModel, "parts">) {
  return serialLines(model).map((id, number) => serialNames(socketName({ id }), number));
}

export interface Attended {
  run: RunFolder;
  programs: VmPrograms;
  /** What shows the VM's screen, if it has one; nothing if absent. */
  vnc?: VncPolicy | undefined;
}

/**
 * Starts what a VM needs beside its QEMU, which listens already, and resolves once all is there: what is said on its
 * serial lines is kept, and its screen is shown. Throws MigrateError "qemu-failed", and "policy" if there is no user
 * for it; what was started is noted, and ends with QEMU.
 */
export async function startAttendants(model: VmModel, { run, programs, vnc }: Attended): Promise<void> {
  const lines = serialNamesOf(model);
  if (lines.length > 0) {
    const argv = programs.keeper([keeperRole, ...lines.map(({ program }) => program)]);
    const what = { role: "keeper", log: keeperLogName, called: "What keeps the VM's serial lines" } as const;
    await start(argv, run, what, () => lines.every((line) => existsSync(run.socket(line.console))));
    programs.pin(
      lines.flatMap((line) => [line.qemu, line.program, line.console].map((name) => run.socket(name))),
    );
  }
  const shown = vncOf(model, vnc);
  if (shown === "none") return;
  programs.pin([run.socket(vncSocketName)], { forGroup: shown === "127.0.0.1" });
  if (shown !== "127.0.0.1") return;
  const what = { role: "relay", log: relayLogName, called: "What shows the VM's screen" } as const;
  await start(programs.relay([relayRole]), run, what, () => vncPort(run) !== null);
}

interface Attendant {
  role: "keeper" | "relay";
  log: string;
  /** As a sentence begins. */
  called: string;
}

async function start(
  argv: readonly string[],
  run: RunFolder,
  { role, log, called }: Attendant,
  isUp: () => boolean,
): Promise<void> {
  const daemon = startDaemon(argv, { cwd: run.path, log: join(run.path, log) });
  let gone = false;
  const ended = daemon.ended.then(() => {
    gone = true;
  });
  try {
    run.note(role, daemon.process);
    for (const lateAtMs = performance.now() + startTimeoutMs; !isUp(); ) {
      if (gone || performance.now() > lateAtMs) {
        const how = gone ? "ended at its start" : "does not come up";
        const why = daemon.lastErrors() || "it said nothing";
        throw new MigrateError("qemu-failed", `${called} ${how}: ${why}`, { side: "destination" });
      }
      await Promise.race([ended, Bun.sleep(pollMs)]);
    }
  } catch (thrown) {
    await endDaemon(daemon.process);
    throw thrown;
  }
}

/**
 * Ends what follows a QEMU that has ended, its swtpm and its attendants: all end by themselves, and are waited for.
 * Throws as `endDaemon` does.
 */
export async function endFollowers({ swtpm, keeper, relay }: NotedProcesses): Promise<void> {
  if (swtpm) await endSwtpm(swtpm);
  for (const process of [keeper, relay]) if (process) await endAttendant(process);
}

async function endAttendant(process: ProcessId): Promise<void> {
  if (!(await waitForEnd(process, followMs))) await endDaemon(process);
}

/** Where the screen of the VM in this run folder is shown, as a sentence; undefined if it is not. */
export function screenOf(run: RunFolder, name: string): string | undefined {
  const port = vncPort(run);
  if (port !== null)
    return `${name} shows its screen by VNC at 127.0.0.1:${port} (display :${port - firstVncPort})`;
  const socket = run.socket(vncSocketName);
  return existsSync(socket) ? `${name} shows its screen by VNC at ${socket}` : undefined;
}
