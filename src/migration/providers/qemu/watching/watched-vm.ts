/** A VM of this host as somebody sees it who watches: whether it runs, its serial lines, and what its programs said. */
import { existsSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { isRunning } from "../../../../platform/process-id.ts";
import { MigrateError } from "../../../../protocol/errors.ts";
import { manifestName } from "../../../../protocol/names.ts";
import { readManifest } from "../../../../vm/folder/manifest.ts";
import { type ConsoleLine, callLine } from "../../../../vm/qemu/attendants/console-line.ts";
import type { SerialNames } from "../../../../vm/qemu/attendants/names.ts";
import { serialTail } from "../../../../vm/qemu/attendants/serial-log.ts";
import { serialNamesOf } from "../../../../vm/qemu/attendants/start-attendants.ts";
import { readModel } from "../../../../vm/qemu/definition/schema.ts";
import {
  keeperLogName,
  qemuLogName,
  RunFolder,
  relayLogName,
  swtpmLogName,
} from "../../../../vm/qemu/run-folder.ts";
import { vmLinkName } from "../arriving-command.ts";

export interface WatchedVm {
  home: string;
  name: string;
  /** Absolute, with all links resolved. */
  folder: string;
}

/** The file of a log, and whose words are in it. */
export interface WordsOf {
  from: string;
  path: string;
}

/** Whether its QEMU runs, started by this home. */
export function runsHere(vm: WatchedVm): boolean {
  const qemu = runOf(vm)?.noted()?.qemu;
  return qemu != null && isRunning(qemu);
}

/** Where its programs' words are, QEMU's first; one that never ran here has none. */
export function programLogs(vm: WatchedVm): WordsOf[] {
  const run = runOf(vm);
  const names = { qemu: qemuLogName, swtpm: swtpmLogName, serial: keeperLogName, screen: relayLogName };
  return run === null
    ? []
    : Object.entries(names).map(([from, name]) => ({ from, path: join(run.path, name) }));
}

/** Where the words of one of its serial lines are. Throws as `serialLine`. */
export function serialLog(vm: WatchedVm, port: number): WordsOf[] {
  const { log } = serialLine(vm, port);
  const run = runOf(vm);
  return run === null ? [] : [{ from: `serial${port}`, path: join(run.path, log) }];
}

/** What it said last on a line, whether it runs or not. Throws as `serialLine`. */
export function lastWords(vm: WatchedVm, port: number): Uint8Array {
  const [words] = serialLog(vm, port);
  return words === undefined ? new Uint8Array() : serialTail(words.path);
}

/** A console on one of its lines; null if it does not run. Throws as `serialLine` and `callLine`. */
export async function openConsole(vm: WatchedVm, port: number): Promise<ConsoleLine | null> {
  const names = serialLine(vm, port);
  const run = runOf(vm);
  return run === null || !runsHere(vm) ? null : await callLine(run, names);
}

/** Throws MigrateError "vm-invalid" if it has no such line, or what it has is not known. */
function serialLine({ name, folder }: WatchedVm, port: number): SerialNames {
  const { definition, manager } = readManifest(join(folder, manifestName));
  if (manager === "libvirt") {
    throw new MigrateError("vm-invalid", `${name} is libvirt's to run, and so is its serial line`, {
      hint: `virsh console ${name}`,
    });
  }
  if (definition === undefined) {
    throw new MigrateError("vm-invalid", `it is not known what serial lines ${name} has`, {
      hint: "only VMs that arrived while they ran have that in their vm.json",
    });
  }
  const lines = serialNamesOf(readModel(definition));
  const line = lines[port];
  if (line !== undefined) return line;
  const has =
    lines.length === 0
      ? "no serial line"
      : `${lines.length === 1 ? "one serial line" : `${lines.length} serial lines`}, numbered from 0`;
  throw new MigrateError("vm-invalid", `${name} has ${has}`, {
    hint:
      lines.length === 0
        ? "a VM has one if its QEMU was started with -serial or -nographic at its source; serve --vnc shows its screen"
        : "name one of them with --port",
  });
}

/** Its run folder; null if there is none, or another VM of that name has it. */
function runOf({ home, name, folder }: WatchedVm): RunFolder | null {
  const run = RunFolder.at(home, name);
  const link = join(run.path, vmLinkName);
  if (!existsSync(run.path)) return null;
  try {
    return realpathSync(link) === folder ? run : null;
  } catch {
    return linkOf(link) === folder ? run : null;
  }
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
