/**
 * Copies of this program in the cache of its user (XDG Base Directory Specification): who moves a VM by ssh leaves one
 * under its hash. One that runs is needed.
 */
import {
  type BigIntStats,
  lstatSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { unitPlace } from "../autostart/autostart.ts";
import { bytesBelow } from "./kept-copies.ts";
import type { Leftover } from "./leftover.ts";

const hash = /^[0-9a-f]{64}$/;
/** What `migrate autostart` writes. */
const unitForm = /^migrate-vm-.*\.service$/;
/** The program, and what a copy that was cut off left. */
const programFile = /^(?:migrate|\.new\.\d{1,10})$/;

export type Environment = Readonly<Record<string, string | undefined>>;

/** The folder of such copies; an XDG_CACHE_HOME that is relative is none. */
export function cacheFolder(env: Environment): string {
  const cache = env.XDG_CACHE_HOME;
  const root = cache && isAbsolute(cache) ? cache : join(env.HOME || homedir(), ".cache");
  return join(root, "migrate");
}

/** The copies that are there, oldest name first. Never throws: what cannot be looked at is left out. */
export function copiedBinaries(env: Environment, root = "/"): Leftover[] {
  const cache = cacheFolder(env);
  const units = unitPlace(env, root).folder;
  return namesIn(cache)
    .filter((name) => hash.test(name))
    .sort()
    .flatMap((name) => {
      const folder = join(cache, name);
      const stat = lstatSync(folder, { throwIfNoEntry: false });
      if (stat?.isDirectory() !== true) return [];
      const used = namesIn(folder).map((file) => lstatSync(join(folder, file), { throwIfNoEntry: false }));
      const stays = whyNeeded(folder, units);
      return [
        {
          kind: "binary" as const,
          path: folder,
          bytes: bytesBelow(folder),
          // A program that is started is read: the kernel notes that once a day at least (mount(8), relatime).
          sinceMs: Math.max(
            stat.mtimeMs,
            ...used.map((file) => Math.max(file?.mtimeMs ?? 0, file?.atimeMs ?? 0)),
          ),
          ...(stays === null ? {} : { stays }),
          remove: () => whyNeeded(folder, units) ?? removeCopy(folder),
        },
      ];
    });
}

function whyNeeded(folder: string, units: string): string | null {
  const pid = runningFrom(folder);
  if (pid !== null) return pid === process.pid ? "it is this program" : `process ${pid} runs from it`;
  const unit = namesIn(units).find(
    (name) => unitForm.test(name) && textOf(join(units, name)).includes(`${folder}/`),
  );
  return unit === undefined ? null : `${unit} starts a VM with it`;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** A process whose program lies in this folder (proc(5), exe); null if there is none, or none that shows. */
function runningFrom(folder: string): number | null {
  const programs = namesIn(folder).flatMap((name) => statOf(join(folder, name)) ?? []);
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const exe = statOf(`/proc/${name}/exe`);
    if (exe !== null && programs.some(({ dev, ino }) => dev === exe.dev && ino === exe.ino))
      return Number(name);
  }
  return null;
}

function removeCopy(folder: string): string | null {
  for (const name of namesIn(folder)) if (programFile.test(name)) unlinkSync(join(folder, name));
  try {
    rmdirSync(folder);
    return null;
  } catch (thrown) {
    const { code } = thrown as { code?: unknown };
    if (code === "ENOENT") return null;
    if (code === "ENOTEMPTY") return "something else lies in it";
    throw thrown;
  }
}

function statOf(path: string): BigIntStats | null {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return null;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
