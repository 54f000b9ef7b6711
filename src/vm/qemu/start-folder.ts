/**
 * The folder from which a VM's QEMU was started: what its command line names without a slash in front lies there.
 * With -daemonize QEMU leaves it (os-posix.c, os_daemonize), and what it has open tells.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { isAbsolute, normalize } from "node:path";

/** Whether QEMU has left the folder in which it was started. */
export function leavesFolder(argv: readonly string[]): boolean {
  return argv.some((word) => word === "-daemonize" || word === "--daemonize");
}

/**
 * Returns the folder in which the process with these arguments was started; null if that does not show. `paths` are
 * those of its command line. Throws as node:fs does.
 */
export function startFolder(pid: number, argv: readonly string[], paths: readonly string[]): string | null {
  if (!leavesFolder(argv)) return readlinkSync(`/proc/${pid}/cwd`);
  const open = openPaths(pid);
  const relative = paths.filter((path) => !isAbsolute(path)).map((path) => normalize(path));
  const folders = relative.flatMap((path) =>
    open.filter((at) => at.endsWith(`/${path}`)).map((at) => at.slice(0, -path.length)),
  );
  const [folder, ...others] = new Set(folders);
  return folder === undefined || others.length > 0 ? null : folder;
}

/** What a process has open, by its paths: proc(5), fd. */
function openPaths(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      // It was closed meanwhile.
      return [];
    }
  });
}
