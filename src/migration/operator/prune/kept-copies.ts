/**
 * What moved VMs left on this host: their files under `*.migrated`, as `send` leaves them unless it is told
 * otherwise. They are the only copy from before the move, so nothing but a person removes them.
 */
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { statBlockBytes } from "../../../platform/files/filesystem.ts";
import { Journal } from "../../journal/journal.ts";

/** `send` puts the session behind it where the name is taken (migration/providers/files/retire.ts). */
const keptName = /\.migrated(?:-[0-9a-f]{8})?$/;
/** Entries of a folder that are looked at; a list that is longer is not for a person to read. */
const mostEntries = 10_000;

export interface KeptCopies {
  paths: string[];
  /** What they take on the disk. */
  bytes: number;
}

/**
 * Looks beside every file and folder that this host has sent away, and in `store` if one is named. Never throws; what
 * cannot be looked at is left out.
 */
export function keptCopies(home: string, store: string | undefined): KeptCopies {
  const folders = new Set(store === undefined ? [] : [store]);
  for (const path of sentFrom(home)) folders.add(join(path, ".."));
  const paths = [...folders].flatMap((folder) =>
    namesIn(folder)
      .filter((name) => keptName.test(name))
      .map((name) => join(folder, name)),
  );
  return { paths, bytes: paths.reduce((sum, path) => sum + bytesBelow(path), 0) };
}

/** The files and folders of the VMs that the journal says were sent away. */
function sentFrom(home: string): string[] {
  // To look is not to make one.
  if (!existsSync(join(home, "journal.sqlite"))) return [];
  try {
    const journal = Journal.open(home);
    try {
      return journal
        .all("source")
        .filter(({ state, after }) => state === "confirmed" && after === "rename")
        .flatMap(({ folder, files }) => [
          ...(folder === null ? [] : [folder]),
          ...files.flatMap(({ path }) => (path === undefined ? [] : [path])),
        ]);
    } finally {
      journal.close();
    }
  } catch {
    return [];
  }
}

/** What a file, or all that lies below a folder, takes on the disk; what cannot be looked at is left out. */
export function bytesBelow(path: string): number {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  const own = stat.blocks * statBlockBytes;
  return stat.isDirectory()
    ? namesIn(path).reduce((sum, name) => sum + bytesBelow(join(path, name)), own)
    : own;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).slice(0, mostEntries);
  } catch {
    return [];
  }
}
