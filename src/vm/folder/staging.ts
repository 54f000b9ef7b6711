/**
 * Where a VM lies at the destination until it is whole: a hidden folder in the store, so that the
 * final name appears by one rename. Every step may be done again after a crash.
 */
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { renameNoReplace, syncFolder } from "../../platform/files/rename.ts";
import type { ImageFormat } from "../../protocol/disk-head.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { FileKind } from "../../protocol/offer.ts";
import type { DiskPlace } from "../disks/disk-place.ts";
import { FilePlace } from "../disks/file-place.ts";
import { fileIdentity, isSameFile } from "./file-identity.ts";

export interface StagedFile {
  kind: FileKind;
  /** A checked name: see protocol/names.ts. */
  name: string;
  bytes: number;
  /** What an image was declared to be; undefined if nothing was declared. */
  format?: ImageFormat;
}

/** The folder of a session that is under way; the session id is hex digits and nothing else. */
export function stagingPath(store: string, session: string): string {
  return join(store, `.migrate-${session}`);
}

/** True if something of the session is still where it was received; `store` is null for one that came nowhere. */
export function isStaged(session: string, store: string | null): boolean {
  return store !== null && existsSync(stagingPath(store, session));
}

/** Path of a file below a VM's folder: a TPM's state has a folder of its own. */
export function relativePath({ kind, name }: Pick<StagedFile, "kind" | "name">): string {
  return kind === "tpm" ? join("tpm", name) : name;
}

export class Staging {
  readonly folder: string;
  readonly store: string;
  #files: readonly StagedFile[];
  /** Where the files land, in their order. */
  readonly places: readonly DiskPlace[];

  constructor(store: string, session: string, files: readonly StagedFile[]) {
    this.store = store;
    this.folder = stagingPath(store, session);
    this.#files = files;
    this.places = files.map((file) => new FilePlace(join(this.folder, relativePath(file))));
  }

  get files(): readonly StagedFile[] {
    return this.#files;
  }

  /** The same files with other sizes; `prepare` gives them to what is there. */
  grow(files: readonly StagedFile[]): void {
    this.#files = files;
  }

  get paths(): readonly string[] {
    return this.places.map(({ path }) => path);
  }

  /**
   * Makes the folder and every file in its full size, without a block in it. What is there already stays.
   * Returns true if something was there before. Throws as `makeFolder` and node:fs do.
   */
  prepare(): boolean {
    let used = !makeFolder(this.folder);
    if (this.files.some(({ kind }) => kind === "tpm")) makeFolder(join(this.folder, "tpm"));
    for (const [i, place] of this.places.entries()) {
      if (place.prepare(this.files[i]!.bytes)) used = true;
    }
    return used;
  }

  /**
   * Throws MigrateError "store-failed" if a file is not there in its full size: what is not there must not be
   * owned, whatever was sealed before.
   */
  checkPresent(): void {
    for (const [i, place] of this.places.entries()) {
      const { name, bytes } = this.files[i]!;
      if (place.size() !== bytes) throw gone(name);
    }
  }

  /**
   * Which files lie at these paths below the VM's folder now, so that `checkLanded` recognises them. Throws
   * MigrateError "store-failed" if one is gone.
   */
  landed(paths: readonly string[]): Landed {
    return Object.fromEntries(
      paths.map((path) => {
        const identity = fileIdentity(join(this.folder, path));
        if (identity === null) throw gone(path);
        return [path, identity];
      }),
    );
  }

  /** Bytes that the staged files take on the disk already. */
  allocatedBytes(): number {
    return this.places.reduce((sum, place) => sum + place.allocatedBytes(), 0);
  }

  /** What is read next of the staged files comes from the disk, if everything is there (`sync`). */
  dropFromMemory(): void {
    for (const place of this.places) place.dropFromMemory();
  }

  /** Changes whenever somebody writes to a staged file, replaces it or takes it away. */
  stamp(): string {
    return this.stamps().join(" ");
  }

  /** The same of each file, in their order. */
  stamps(): string[] {
    return this.places.map((place) => place.stamp());
  }

  /** Every byte and every name of the staged files is on the disk when this resolves (fsync(2)). */
  async sync(): Promise<void> {
    for (const place of this.places) await place.sync();
    if (existsSync(join(this.folder, "tpm"))) syncFolder(join(this.folder, "tpm"));
    syncFolder(this.folder);
    syncFolder(this.store);
  }

  /**
   * Renames the folder to its final name, with `manifest` as its vm.json, and returns its path. Does nothing
   * if that was done already. Throws MigrateError "name-taken" if somebody else has the name; nothing is ever replaced.
   */
  publish(name: string, manifest: string, isOurs: (folder: string) => boolean): string {
    const final = join(this.store, name);
    if (!existsSync(this.folder)) {
      if (existsSync(final) && isOurs(final)) return final;
      throw new MigrateError("store-failed", "the files of this session are gone from the store", {
        side: "destination",
      });
    }
    const path = join(this.folder, "vm.json");
    const fd = openSync(
      path,
      constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
      0o600,
    );
    closeSync(fd);
    writeFileSync(path, manifest, { mode: 0o600, flush: true });
    syncFolder(this.folder);
    try {
      renameNoReplace(this.folder, final);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
      throw new MigrateError(
        "name-taken",
        `${name} has come into being in the destination's store meanwhile`,
        {
          side: "destination",
          hint: "move it out of the way there; the session resumes by itself",
        },
      );
    }
    for (const place of this.places) place.publish(final);
    syncFolder(this.store);
    return final;
  }

  /** Removes the staged files. Does nothing if they are gone already, or somebody else's. */
  remove(): void {
    if (isOwnFolder(this.folder)) for (const place of this.places) place.remove();
    removeOwn(this.folder);
  }

  /** As `remove`, once the folder has its final name; `isOurs` tells whether it is this session's. */
  unpublish(name: string, isOurs: (folder: string) => boolean): void {
    const final = join(this.store, name);
    if (!isOurs(final)) return;
    removeOwn(final);
    syncFolder(this.store);
  }
}

/** By a file's path below the VM's folder, its identity (file-identity.ts). */
export type Landed = Readonly<Record<string, string>>;

/**
 * Throws MigrateError "store-failed" unless the very files that were sealed lie in `folder`: somebody may have cleaned
 * up there, or mounted something over it.
 */
export function checkLanded(folder: string, landed: Landed): void {
  for (const [path, identity] of Object.entries(landed)) {
    if (!isSameFile(identity, fileIdentity(join(folder, path)))) throw gone(path);
  }
}

function gone(name: string): MigrateError {
  return new MigrateError("store-failed", `${name} is gone from the destination's store`, {
    side: "destination",
  });
}

function isOwnFolder(folder: string): boolean {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === process.geteuid?.();
}

function removeOwn(folder: string): void {
  if (!isOwnFolder(folder)) return;
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Makes a folder of ours that nobody else may enter; false if it is there already. What is there
 * may be another user's doing, if the store is open to others: a link, or a folder of theirs, is
 * not written into. Throws an error with code ELOOP, ENOTDIR or EACCES then, and as node:fs does.
 */
export function makeFolder(path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o700 });
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
  }
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    if (fstatSync(fd).uid !== process.geteuid?.()) {
      throw Object.assign(new Error("the folder belongs to another user"), { code: "EACCES" });
    }
    // The VM's own user may have a way in (0710, vm/confinement/vm-user.ts), which its QEMU needs as long as it runs.
    if ((fstatSync(fd).mode & 0o067) !== 0) fchmodSync(fd, 0o700);
  } finally {
    closeSync(fd);
  }
  return false;
}
