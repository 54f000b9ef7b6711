/**
 * Which session a `send` is about: one that was begun and not ended, or a new one. The journal is
 * asked first, since after a release the files may be gone and the migration must still end.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { closeSync, mkdirSync, openSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { tryFlock } from "../../platform/locks.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { adHocVm, loadVm, type Vm } from "../../vm/folder/vm-folder.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import type { Mode } from "../ownership/phases.ts";
import { fileIdentity } from "../providers/files/retire.ts";

/** The VM as the person named it. */
export type VmSpec =
  | { folder: string }
  | { name: string; ram?: string | undefined; disks: string[]; tpmStateDir?: string | undefined };

export interface ClaimOptions {
  spec: VmSpec;
  /** host:port */
  address: string;
  mode: Mode;
  after: SessionRecord["after"];
  now: () => number;
}

export interface Claim {
  record: SessionRecord;
  /** Null where only the end is left to do, and the files may be gone. */
  vm: Vm | null;
  resumed: boolean;
  /** Lets others have the session. */
  release: () => void;
}

/**
 * Finds or begins the session and keeps every other process from working on it. Throws MigrateError:
 * "vm-invalid" for a VM that cannot be read, "vm-busy" where another process sends it, "not-owner"
 * where it was moved away, "in-doubt" where it was released to another destination.
 */
export function claimSession(journal: Journal, home: string, options: ClaimOptions): Claim {
  const { spec, address, mode, now } = options;
  let vm: Vm | null = null;
  let problem: unknown;
  try {
    vm = "folder" in spec ? loadVm(spec.folder) : adHocVm(spec);
  } catch (thrown) {
    problem = thrown;
  }
  if (vm?.manifest?.ownership?.state === "copy" && mode === "move") {
    throw new MigrateError("not-owner", `${vm.name} is a copy; it has no ownership that could move`, {
      side: "source",
      hint: "send it with --copy, or take the ownership entry out of its vm.json if it is to be a VM of its own",
    });
  }
  const isIt = matcher(spec, vm);
  const stillIs = (gone: SessionRecord) => vm === null || sameIdentity(gone, vm);
  for (const record of journal.open("source").filter(isIt)) {
    if (record.state === "released" || record.state === "confirmed") {
      if (record.address !== address) throw releasedElsewhere(record);
      return { record, vm: null, resumed: true, release: lockSession(home, record) };
    }
    if (vm !== null && record.address === address && record.mode === mode && sameFiles(record, vm)) {
      const release = lockSession(home, record);
      journal.write("resume", () =>
        journal.update(record.session, { after: options.after, updatedAtMs: now() }),
      );
      return { record: journal.find(record.session)!, vm, resumed: true, release };
    }
    // Another destination, or other files: the old session can never be ended; nothing was released.
    const unlock = lockSession(home, record);
    try {
      journal.write("cancelled", () => {
        // Another process may have released it between the look and the lock.
        if (journal.find(record.session)?.state !== "sending") throw busyElsewhere(record);
        journal.update(record.session, { state: "cancelled", updatedAtMs: now(), endedAtMs: now() });
      });
    } finally {
      unlock();
    }
  }
  if (mode === "move") requireNotMoved(journal, isIt, stillIs);
  if (vm === null) throw asMigrateError(problem);
  const record = newRecord(vm, options);
  // Taken before the session can be seen by another process.
  const release = lockSession(home, record);
  try {
    journal.write("sending", () => {
      // Another process may have begun since the look, or even ended: of two, one goes on.
      const rival = journal.open("source").find(isIt);
      if (rival !== undefined) throw busyElsewhere(rival);
      if (mode === "move") requireNotMoved(journal, isIt, stillIs);
      journal.insert(record);
    });
  } catch (thrown) {
    release();
    throw thrown;
  }
  return { record, vm, resumed: false, release };
}

/**
 * Throws "not-owner" where the journal says that the VM which `isIt` recognises was moved to another host,
 * and `stillIs` says that what is here is that very VM.
 */
export function requireNotMoved(
  journal: Journal,
  isIt: (record: SessionRecord) => boolean,
  stillIs: (gone: SessionRecord) => boolean,
): void {
  const gone = journal
    .all("source")
    .find((record) => record.mode === "move" && record.state === "confirmed" && isIt(record));
  if (gone && stillIs(gone)) {
    throw new MigrateError("not-owner", `${gone.name} was moved to ${gone.address} and is owned there`, {
      side: "source",
      hint: `see \`migrate history\`; session ${gone.session.slice(0, 12)}`,
    });
  }
}

function newRecord(vm: Vm, { address, mode, after, now }: ClaimOptions): SessionRecord {
  const nowMs = now();
  return {
    session: randomBytes(16).toString("hex"),
    side: "source",
    name: vm.name,
    vm: vm.id ?? randomUUID(),
    mode,
    peer: "",
    address,
    state: "sending",
    phase: "begin",
    attempt: 0,
    tagKey: randomBytes(16).toString("hex"),
    files: vm.files.map((file) => ({
      kind: file.kind,
      name: wireName(file.base),
      bytes: file.bytes,
      path: file.path,
      identity: fileIdentity(file.path)!,
    })),
    folder: vm.folder ?? null,
    store: null,
    after: mode === "copy" ? "copy" : after,
    digest: null,
    bytes: vm.files.reduce((sum, { bytes }) => sum + bytes, 0),
    doneBytes: 0,
    wireBytes: 0,
    machine: null,
    settled: false,
    acknowledged: false,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    endedAtMs: null,
  };
}

/** A file's name without the folder that its kind gives it. */
function wireName(base: string): string {
  return base.slice(base.lastIndexOf("/") + 1);
}

/** Recognises a session's VM by its folder, the paths of its files, or the files themselves. */
function matcher(spec: VmSpec, vm: Vm | null): (record: SessionRecord) => boolean {
  const folder = "folder" in spec ? real(spec.folder) : null;
  const paths = new Set(
    "folder" in spec
      ? []
      : [spec.ram, ...spec.disks].flatMap((path) => (path === undefined ? [] : [real(path)])),
  );
  const identities = new Set(vm?.files.map(({ path }) => fileIdentity(path)));
  return (record) =>
    (folder !== null && record.folder === folder) ||
    record.files.some(
      ({ path, identity }) =>
        (path !== undefined && paths.has(path)) || (identity !== undefined && identities.has(identity)),
    );
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // Gone, as after a rename: its folder still tells what it was called.
    const whole = resolve(path);
    return dirname(whole) === whole ? whole : join(real(dirname(whole)), basename(whole));
  }
}

function sameFiles(record: SessionRecord, vm: Vm): boolean {
  return (
    record.name === vm.name &&
    record.files.length === vm.files.length &&
    record.files.every((file, i) => {
      const now = vm.files[i]!;
      return file.path === now.path && file.bytes === now.bytes && file.identity === fileIdentity(now.path);
    })
  );
}

function sameIdentity(record: SessionRecord, vm: Vm): boolean {
  const identities = new Set(record.files.map(({ identity }) => identity));
  return vm.files.some(({ path }) => identities.has(fileIdentity(path) ?? ""));
}

/** What is said of a VM that another destination may own by now. */
export function releasedElsewhere(record: SessionRecord): MigrateError {
  return new MigrateError(
    "in-doubt",
    `${record.name} was released to ${record.address}, which has not said yet that it owns it`,
    { side: "source", phase: "handover", hint: `migrate resolve ${record.session.slice(0, 12)} asks there` },
  );
}

function busyElsewhere(record: SessionRecord): MigrateError {
  return new MigrateError("vm-busy", `${record.name} was being sent by another process until just now`, {
    side: "source",
    hint: `migrate status shows session ${record.session.slice(0, 12)}; then run the command again`,
  });
}

/** Held by the kernel for as long as this process lives (flock(2)). */
export function lockSession(home: string, record: Pick<SessionRecord, "session" | "name">): () => void {
  const folder = join(home, "sessions");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fd = openSync(join(folder, `${record.session}.lock`), "a", 0o600);
  if (!tryFlock(fd)) {
    closeSync(fd);
    throw new MigrateError("vm-busy", `${record.name} is being sent by another process`, {
      side: "source",
      hint: `migrate status shows session ${record.session.slice(0, 12)}`,
    });
  }
  return () => closeSync(fd);
}
