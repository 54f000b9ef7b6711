/**
 * The files of VMs that left this host and were renamed to *.migrated. They go if two witnesses agree: a session of this
 * home's journal that is over, and the mark that its release put into the file itself. All others are shown, and stay.
 */
import { existsSync, lstatSync, readdirSync, unlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { inPinnedFolder, syncFolder } from "../../../platform/files/rename.ts";
import { manifestName } from "../../../protocol/names.ts";
import { readManifest } from "../../../vm/folder/manifest.ts";
import { deleteOwn, type FolderEntry, ownEntries, tpmEntries } from "../../../vm/folder/own-files.ts";
import { releaseMark } from "../../../vm/folder/release-mark.ts";
import { type OpenElsewhere, openElsewhere } from "../../../vm/holders/open-elsewhere.ts";
import type { Journal, SessionRecord } from "../../journal/journal.ts";
import { type OwnFile, pathsAside } from "../../providers/files/retire.ts";
import { providerOf } from "../../providers/providers.ts";
import { lockSession } from "../../source/session-lock.ts";
import { bytesBelow, keptCopies } from "./kept-copies.ts";
import type { Leftover } from "./leftover.ts";

/** What lies there now of a session: a file, a TPM's state folder, or the VM's whole folder. */
interface Aside {
  path: string;
  session: string;
}

/** All that lies beside where VMs of this home were, and in `store` if one is named. Never throws for one file. */
export function migratedFiles(
  home: string,
  journal: Journal,
  store: string | undefined,
  nowMs: number,
): Leftover[] {
  const asides = new Map<string, { aside: Aside; record: SessionRecord }>();
  for (const record of journal.all("source")) {
    for (const path of asidesOf(record)) {
      if (!asides.has(path)) asides.set(path, { aside: { path, session: record.session }, record });
    }
  }
  // All processes are looked at once, however many files there are.
  const held = openElsewhere([...asides.values()].flatMap(({ aside, record }) => usedAt(aside.path, record)));
  const known = new Map(
    [...asides].map(([path, { aside }]) => [path, leftover(home, journal, aside, { nowMs, held })]),
  );
  const others = keptCopies(home, store).paths.filter((path) => !known.has(path));
  return [
    ...known.values(),
    ...others.map((path) => ({
      kind: "migrated" as const,
      path,
      bytes: bytesBelow(path),
      sinceMs: lstatSync(path, { throwIfNoEntry: false })?.ctimeMs ?? nowMs,
      stays: "no session of this home's journal put it there",
      remove: () => "no session of this home's journal put it there",
    })),
  ].sort((one, other) => (one.path < other.path ? -1 : 1));
}

/**
 * Where the files of a VM lie now that a session has moved away: those that its marks agree with, and all that have such
 * a name if there is no mark. The session's row in the journal is what tells of them. None for any other session.
 */
export function asidesOf(record: SessionRecord): string[] {
  const { side, mode, after, state } = record;
  if (side !== "source" || mode !== "move" || after !== "rename" || state !== "confirmed") return [];
  const { folder, session } = record;
  const files = providerOf(record).ownFiles(record);
  const outside = files.filter(({ path }) => !isWithin(folder, path)).map(({ path }) => path);
  const renamed = [...new Set([...outside, ...(folder === null ? [] : [folder])])];
  return renamed.flatMap((path) =>
    pathsAside(path, session).filter((aside) => isOf(aside, path, files, session)),
  );
}

/** By its mark; where nothing has a mark, by the name that only this session gives. */
function isOf(aside: string, path: string, files: readonly OwnFile[], session: string): boolean {
  if (!existsSync(aside)) return false;
  const marked = [aside, ...insideOf(aside, path, files)].flatMap((file) => releaseMark(file) ?? []);
  if (marked.length > 0) return marked.some((mark) => mark.session === session);
  return aside.endsWith(`-${session.slice(0, 8)}`) || basename(aside) === `${basename(path)}.migrated`;
}

function leftover(
  home: string,
  journal: Journal,
  aside: Aside,
  { nowMs, held }: { nowMs: number; held: readonly OpenElsewhere[] },
): Leftover {
  const record = journal.find(aside.session)!;
  const stays = whyStays(journal, aside, held);
  return {
    kind: "migrated",
    path: aside.path,
    about: `${record.name}, moved to ${record.address}`,
    bytes: bytesBelow(aside.path),
    sinceMs: record.endedAtMs ?? nowMs,
    ...(stays === null ? {} : { stays }),
    remove() {
      // Whoever works on the session has it locked.
      const release = lockSession(home, record);
      try {
        return whyStays(journal, aside) ?? removeAside(aside.path, record);
      } finally {
        release();
      }
    },
  };
}

/** `held` is what others have open; absent, it is looked for. */
function whyStays(
  journal: Journal,
  { path, session }: Aside,
  held?: readonly OpenElsewhere[],
): string | null {
  const record = journal.find(session);
  if (record?.state !== "confirmed" || record.endedAtMs === null || !record.settled)
    return "its session has not ended";
  const files = filesAt(path, record);
  if (files.length === 0 && !isRest(path, record)) return "nothing in it is known to be the VM's";
  const unmarked = files.find((file) => releaseMark(file)?.session !== session);
  if (unmarked !== undefined) return `${basename(unmarked)} does not say that this session released it`;
  const used = new Set(usedAt(path, record));
  const holder = (held ?? openElsewhere([...used])).find((one) => used.has(one.path));
  return holder === undefined ? null : `${basename(holder.path)} is open in ${holder.who}`;
}

/** Whose use by others keeps it: the VM's own files, and what else lies in its folder. */
function usedAt(path: string, record: SessionRecord): string[] {
  return [...filesAt(path, record), ...namesIn(path).map((name) => join(path, name))];
}

/** The VM's own files that lie at or below `path` now. */
function filesAt(path: string, record: SessionRecord): string[] {
  const own = providerOf(record).ownFiles(record);
  const { folder } = record;
  const isFolder = folder !== null && pathsAside(folder, record.session).includes(path);
  return isFolder ? insideOf(path, folder, own).filter(existsSync) : [path];
}

function insideOf(aside: string, folder: string, files: readonly OwnFile[]): string[] {
  return [
    ...new Set(
      files.filter(({ path }) => isWithin(folder, path)).map(({ path }) => aside + path.slice(folder.length)),
    ),
  ];
}

/** True if the folder is what is left of one whose removal was cut off: vm.json goes last. */
function isRest(path: string, record: SessionRecord): boolean {
  const names = namesIn(path);
  if (names.length === 0) return true;
  try {
    return readManifest(join(path, manifestName)).id === record.vm;
  } catch {
    return false;
  }
}

/** Returns why something of it stays; null if it is gone. */
function removeAside(path: string, record: SessionRecord): string | null {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  if (!stat.isDirectory()) {
    inPinnedFolder(path, (folder, name) => {
      const at = join(folder, name);
      // Somebody may have put another file there since the look.
      if (releaseMark(at)?.session === record.session) unlinkSync(at);
      syncFolder(folder);
    });
    return existsSync(path) ? "it is another file now" : null;
  }
  const own = ownIn(path, record);
  deleteOwn(path, own);
  const left = namesIn(path);
  return left.length === 0 ? null : `what else lies in it stays: ${left.join(", ")}`;
}

/** What of a folder is the VM's: by the session's record, and by vm.json if one is there. vm.json goes last. */
function ownIn(path: string, record: SessionRecord): FolderEntry[] {
  const files = filesAt(path, record);
  // The state of a TPM that lay elsewhere than in the VM's folder.
  if (files.includes(path)) return tpmEntries(path);
  const named = files.map((file) => ({ kind: "disk" as const, file: file.slice(path.length + 1) }));
  try {
    return ownEntries(path, { files: [...named, ...readManifest(join(path, manifestName)).files] }).own;
  } catch {
    return ownEntries(path, { files: named }).own;
  }
}

function isWithin(folder: string | null, path: string): boolean {
  return folder !== null && path.startsWith(`${folder}/`);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
