/**
 * The path by which the QEMU of a domain that arrived while it ran knows its folder, until it is started anew: a link in
 * the store, which leads to the folder before that has its final name, and afterwards.
 */
import { readdirSync, readlinkSync, rmSync, statSync, symlinkSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

const prefix = ".migrate-vm-";
const form = /^\.migrate-vm-[0-9a-f]{16}$/;

export function liveLink({ store, session }: { store: string; session: string }): string {
  return join(store, prefix + session.slice(0, 16));
}

/** Makes a link lead to `folder`. Idempotent. Throws as node:fs does. */
export function pointLink(link: string, folder: string): void {
  rmSync(link, { force: true });
  symlinkSync(folder, link);
}

/** The path of a file without such a link: the file is to be found once that is gone. */
export function withoutLiveLink(path: string): string {
  const to = targetOf(dirname(path));
  return to === null ? path : join(to, basename(path));
}

/** Takes away all links to a folder that its domain has left. Idempotent; touches nothing else. Throws as node:fs does. */
export function removeLiveLinks(folder: string): void {
  for (const link of linksIn(dirname(folder))) if (targetOf(link) === folder) rmSync(link, { force: true });
}

/**
 * Takes away links of a store whose folder is gone: who should have done it was killed. One whose folder is there stays,
 * since a saved memory may name it. Throws as node:fs does.
 */
export function removeStaleLinks(store: string): void {
  for (const link of linksIn(store)) {
    if (statSync(link, { throwIfNoEntry: false }) === undefined) rmSync(link, { force: true });
  }
}

function linksIn(store: string): string[] {
  return readdirSync(store, { withFileTypes: true })
    .filter((entry) => entry.isSymbolicLink() && form.test(entry.name))
    .map(({ name }) => join(store, name));
}

function targetOf(link: string): string | null {
  if (!form.test(basename(link))) return null;
  try {
    return resolve(dirname(link), readlinkSync(link));
  } catch {
    return null;
  }
}
