/** Which of the programs that matter to a move IMA has measured: for the evidence, and for what a policy records. Pure. */
import type { ImaEntry } from "./ima-log.ts";

export type ProgramName = "migrate" | "qemu" | "swtpm" | "kernel";

export interface KnownProgram {
  name: ProgramName;
  path: string;
  /** As "sha256:" and hex. */
  digest: string;
}

/** More than these are not named: each upgrade without a restart adds one. */
const mostPrograms = 64;

/**
 * `migrate`, QEMU, swtpm and the kernel, in the order in which they were measured, each path and digest once.
 * `entries` are those that the quote proves (replayIma says how many), which this does not check. A kernel is here where
 * IMA measures what kexec loads; the one that was booted is in the firmware's log.
 */
export function knownPrograms(entries: readonly ImaEntry[]): KnownProgram[] {
  const found = new Map<string, KnownProgram>();
  for (const entry of entries) {
    if (entry.violation) continue;
    const { path, digest } = entry.fields();
    if (path === null || digest === null) continue;
    const name = programOf(path);
    if (name === null) continue;
    found.set(`${digest} ${path}`, { name, path, digest });
    if (found.size >= mostPrograms) break;
  }
  return [...found.values()];
}

function programOf(path: string): ProgramName | null {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name === "migrate" || name === "swtpm") return name;
  if (/^(?:qemu-system-[\w-]+|qemu-kvm|kvm)$/.test(name)) return "qemu";
  return path.startsWith("/") && /^(?:vmlinu[xz]|bzImage)(?:[.-].*)?$/.test(name) ? "kernel" : null;
}
