/** What the figures were measured on. */

import { existsSync, statfsSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { findProgram } from "../support/runner/needs.ts";
import { startChild } from "../support/system/child.ts";
import { builtBinary } from "../support/system/process.ts";

/** Free room in a folder's file system, and memory that is free for use, in bytes: the smaller one counts in /dev/shm. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize, type } = statfsSync(folder);
  const room = bavail * bsize;
  const tmpfs = 0x01021994;
  if (type !== tmpfs) return room;
  const available = /^MemAvailable:\s*(\d+) kB/m.exec(await Bun.file("/proc/meminfo").text())?.[1];
  return Math.min(room, Number(available ?? 0) * 1024);
}

/** The machine and the versions of all that ran, as a Markdown list. */
export async function describeMachine(): Promise<string> {
  const [cpu] = cpus();
  const versions = await Promise.all([
    firstLine([builtBinary, "--version"]),
    firstLine(["ssh", "-V"]),
    firstLine(["rsync", "--version"]),
    firstLine(["socat", "-V"], /^socat version.*$/m),
    firstLine(["zstd", "--version"], /v[\d.]+/).then((version) => version && `zstd ${version}`),
    firstLine(["openssl", "version"]),
    firstLine(["qemu-system-x86_64", "--version"]),
  ]);
  return [
    `- ${cpus().length} cores, ${cpu?.model.trim()}; ${(totalmem() / 2 ** 30).toFixed(0)} GiB; Linux ${release()}; Bun ${Bun.version}`,
    `- ${versions.filter((version) => version !== "").join("; ")}`,
  ].join("\n");
}

async function firstLine(command: string[], pattern = /^.+$/m): Promise<string> {
  const path = findProgram(command[0] ?? "");
  if (path === null || !existsSync(path)) return "";
  const child = startChild([path, ...command.slice(1)]);
  await child.exit;
  return (
    pattern
      .exec(child.stdout() + child.stderr())?.[0]
      ?.trim()
      .replace(/\s+/g, " ") ?? ""
  );
}
