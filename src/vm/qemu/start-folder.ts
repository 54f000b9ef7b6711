/**
 * The folder from which a VM's QEMU was started: what its command line names without a slash in front lies there.
 * With -daemonize QEMU leaves it (os-posix.c, os_daemonize), and what it has open tells.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { isAbsolute, join, normalize } from "node:path";

/**
 * Returns the folder in which the process with these arguments was started; null if that does not show. `disks` are the
 * paths of images that it has open, as its command line has them. Throws as node:fs does.
 */
export function startFolder(pid: number, argv: readonly string[], disks: readonly string[]): string | null {
  if (!argv.some((word) => word === "-daemonize" || word === "--daemonize"))
    return readlinkSync(`/proc/${pid}/cwd`);
  const relative = disks.filter((path) => !isAbsolute(path)).map((path) => normalize(path));
  const open = new Set(openPaths(pid));
  const [first] = relative;
  if (first === undefined) return null;
  const folders = [...open].flatMap((path) =>
    path.endsWith(`/${first}`) ? [path.slice(0, -first.length)] : [],
  );
  const [folder, ...others] = folders.filter((at) => relative.every((path) => open.has(join(at, path))));
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
