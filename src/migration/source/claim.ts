/**
 * Finds the session that a `send` is about: one that was begun and has not ended, or a new one. The journal
 * is asked first, since after a release the files may be gone and the migration must still end; then the
 * files, since a journal may be lost or older than they are.
 */
import { randomBytes } from "node:crypto";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { VmPolicy } from "../../protocol/vm-policy.ts";
import { releaseMark } from "../../vm/folder/release-mark.ts";
import type { Journal, SessionRecord } from "../journal/journal.ts";
import { newReleaseCode } from "../journal/release-code.ts";
import type { Mode } from "../ownership/phases.ts";
import type { Candidate, OpenedVm } from "../providers/departure.ts";
import { providerOf } from "../providers/providers.ts";
import type { KeptSeal } from "../providers/tpm-at-source.ts";
import { applyLocally, believeFiles, type LocalOptions } from "./apply-locally.ts";
import { hasSamePolicy, withPolicy } from "./gate/own-policy.ts";
import { lockSession } from "./session-lock.ts";

export interface ClaimOptions {
  /** host:port */
  address: string;
  mode: Mode;
  after: SessionRecord["after"];
  /** Rules that the person adds to the VM's own policy. */
  vmPolicy?: VmPolicy | undefined;
}

export interface Claim {
  record: SessionRecord;
  /** Null if the VM was released before and the session only has to end; the files may be gone. */
  opened: OpenedVm | null;
  /** Releases the session's lock. */
  release: () => void;
}

/**
 * Finds or begins the session, and locks it against every other process. Sessions of this VM that cannot be
 * resumed are given up first. Throws MigrateError: "vm-invalid" and "policy" if the VM cannot be moved,
 * "vm-busy" if another process sends it, "not-owner" if it was moved away, and "in-doubt" if it was released
 * to another destination.
 */
export async function claimSession(
  candidate: Candidate,
  options: ClaimOptions,
  local: LocalOptions,
): Promise<Claim> {
  const { home, journal } = local;
  const earlier = () =>
    journal
      .all("source")
      .filter(candidate.isIt)
      .filter((record) => record.endedAtMs === null || providerOf(record).standsStill(record))
      .reverse();
  // A VM that an earlier process stopped is resumed before anything else looks at it.
  for (const found of earlier().filter((record) => providerOf(record).standsStill(record))) {
    await locked(home, found, () => applyUnlessReleased(found, "given-up", local));
  }
  let problem: unknown;
  let opened: OpenedVm | undefined;
  // A session that was released is to end even if the VM can no longer be opened.
  if (!earlier().some(isReleased)) {
    opened = await candidate.open().catch((thrown: unknown) => {
      problem = thrown;
      return undefined;
    });
  }
  try {
    const claim = await claimOpened(earlier(), opened, options, local);
    if (claim !== null) return claim;
    if (opened === undefined) {
      if (problem === undefined) opened = await candidate.open();
      else {
        if (options.mode === "move") {
          // The last session of it tells; whatever was there before that came back, or was another VM.
          const last = journal.all("source").find(candidate.wasMovedBy);
          if (last !== undefined && isMovedAway(last)) throw movedAway(last);
        }
        throw problem;
      }
    }
    return begin(candidate, opened, options, local);
  } catch (thrown) {
    opened?.close();
    throw asMigrateError(thrown).within({ vm: opened?.facts.name });
  }
}

/**
 * Returns the session among `earlier` that is resumed; null if there is none, and then the others are given
 * up.
 */
async function claimOpened(
  earlier: readonly SessionRecord[],
  opened: OpenedVm | undefined,
  { address, mode, after, vmPolicy }: ClaimOptions,
  local: LocalOptions,
): Promise<Claim | null> {
  const { home, journal, now } = local;
  for (const found of earlier) {
    const release = lockSession(home, found);
    try {
      if (mode === "move") await believeFiles(found.session, local);
      const record = journal.find(found.session)!;
      if (isReleased(record)) {
        if (record.address !== address) throw releasedElsewhere(record);
        opened?.close();
        return { record, opened: null, release };
      }
      const isSame = record.address === address && record.mode === mode;
      if (opened?.resumes(record) === true && isSame && hasSamePolicy(record, opened.facts, vmPolicy)) {
        const kept = keptOnResume(record, opened);
        journal.write("resume", () => journal.update(record.session, { after, kept, updatedAtMs: now() }));
        return { record: journal.find(record.session)!, opened, release };
      }
      // A VM that cannot be opened now may be opened later.
      if (opened === undefined) {
        release();
        continue;
      }
      // Another destination, or other files: the old session can never be completed, and nothing was
      // released.
      await applyUnlessReleased(record, "superseded", local);
    } catch (thrown) {
      release();
      throw asMigrateError(thrown).within({ session: found.session, vm: found.name });
    }
    release();
  }
  return null;
}

/** A passphrase for its TPM's state may have been given this time alone. */
function keptOnResume({ kept }: SessionRecord, { facts }: OpenedVm): SessionRecord["kept"] {
  const { tpmSeal } = (facts.kept ?? {}) as KeptSeal;
  return tpmSeal === undefined ? kept : { ...facts.kept, ...kept, tpmSeal };
}

function begin(
  candidate: Candidate,
  opened: OpenedVm,
  options: ClaimOptions,
  { home, journal, now }: LocalOptions,
): Claim {
  const isIt = (record: SessionRecord) => candidate.isIt(record) || opened.isStill(record);
  const record = newRecord(candidate.provider, opened, options, now());
  const check = () => {
    if (options.mode !== "move") return;
    requireNotMoved(journal, opened.isStill);
    requireUnmarked(record);
  };
  check();
  // Locked before another process can see the session.
  const release = lockSession(home, record);
  try {
    journal.write("sending", () => {
      // Another process may have begun a session since the look, or even ended it: only one of two may begin.
      const rival = journal.open("source").find(isIt);
      if (rival !== undefined) throw busyElsewhere(rival);
      check();
      journal.insert(record);
    });
  } catch (thrown) {
    release();
    throw thrown;
  }
  return { record, opened, release };
}

function newRecord(
  provider: string,
  { facts }: OpenedVm,
  { address, mode, after, vmPolicy }: ClaimOptions,
  nowMs: number,
): SessionRecord {
  return {
    ...withPolicy(facts, mode, vmPolicy),
    session: randomBytes(16).toString("hex"),
    side: "source",
    mode,
    peer: "",
    address,
    state: "sending",
    phase: "begin",
    attempt: 0,
    tagKey: randomBytes(16).toString("hex"),
    store: null,
    after: mode === "copy" ? "copy" : after,
    digest: null,
    doneBytes: 0,
    wireBytes: 0,
    provider,
    release: newReleaseCode(),
    settled: false,
    acknowledged: false,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    endedAtMs: null,
  };
}

/**
 * Throws MigrateError "not-owner" if a VM that `isIt` recognises was moved away, according to the journal.
 */
function requireNotMoved(journal: Journal, isIt: (record: SessionRecord) => boolean): void {
  const gone = journal.all("source").find((record) => isMovedAway(record) && isIt(record));
  if (gone !== undefined) throw movedAway(gone);
}

function isMovedAway({ mode, state }: SessionRecord): boolean {
  return mode === "move" && state === "confirmed";
}

function movedAway({ name, address, session }: SessionRecord): MigrateError {
  return new MigrateError("not-owner", `${name} was moved to ${address} and is owned there`, {
    side: "source",
    session,
    vm: name,
    hint: `see \`migrate history\`; session ${session.slice(0, 12)}`,
  });
}

/**
 * Throws MigrateError "not-owner" if the files carry a release mark that no session in the journal accounts
 * for.
 */
function requireUnmarked(record: SessionRecord): void {
  for (const { path } of providerOf(record).ownFiles(record)) {
    const mark = releaseMark(path);
    if (mark === null) continue;
    throw new MigrateError(
      "not-owner",
      `${path} says that it was released to ${mark.to}, and this host's journal does not say otherwise`,
      {
        side: "source",
        hint: `ask there (session ${mark.session.slice(0, 12)}); if it does not have the VM and never will, take the mark off with: setfattr -x user.migrate.released FILE`,
      },
    );
  }
}

function isReleased({ state, endedAtMs }: SessionRecord): boolean {
  return (state === "released" || state === "confirmed") && endedAtMs === null;
}

async function applyUnlessReleased(
  { session }: SessionRecord,
  type: "superseded" | "given-up",
  local: LocalOptions,
): Promise<void> {
  const record = local.journal.find(session);
  // Another process may have released it before this one held the lock.
  if (record === null || isReleased(record)) return;
  await applyLocally(session, { type }, local);
}

/** What keeps a session from beginning is looked for; nothing of it is changed. */
export interface Claimable {
  /** With which the session would begin, or the one that would be resumed. */
  record: SessionRecord;
  opened: OpenedVm;
  /** The session that would be resumed; null if a new one would begin. */
  resumed: string | null;
  /** Sessions of this VM that would be given up first. */
  ends: string[];
}

/** A session that stands in the way of a question: `send` ends it, or takes the VM back, before anything else. */
export interface Unfinished {
  unfinished: SessionRecord;
  what: "ends" | "takes-back";
}

/**
 * As `claimSession`, for who only asks: throws what that would throw, writes nothing, and does not resume a VM that an
 * earlier process left stopped. `address` is null if nobody said where to.
 */
export async function claimable(
  candidate: Candidate,
  options: Omit<ClaimOptions, "address"> & { address: string | null },
  { home, journal, now }: Pick<LocalOptions, "home" | "journal" | "now">,
): Promise<Claimable | Unfinished> {
  const own = journal.all("source").filter(candidate.isIt).reverse();
  const earlier = own.filter(({ endedAtMs }) => endedAtMs === null);
  const standing = own.find((record) => providerOf(record).standsStill(record));
  for (const found of [...earlier, ...(standing === undefined ? [] : [standing])]) lockSession(home, found)();
  // It may stand still, and be in the middle of anything.
  if (standing !== undefined) return { unfinished: standing, what: "takes-back" };
  const released = earlier.find(isReleased);
  if (released !== undefined && released.address !== options.address) throw releasedElsewhere(released);
  if (released !== undefined) return { unfinished: released, what: "ends" };
  const last = () => journal.all("source").find(candidate.wasMovedBy);
  const opened = await candidate.open().catch((thrown: unknown) => {
    const gone = options.mode === "move" ? last() : undefined;
    throw gone !== undefined && isMovedAway(gone) ? movedAway(gone) : thrown;
  });
  try {
    const resumed = earlier.find(
      (record) =>
        opened.resumes(record) &&
        record.address === options.address &&
        record.mode === options.mode &&
        hasSamePolicy(record, opened.facts, options.vmPolicy),
    );
    if (resumed !== undefined) {
      const record = { ...resumed, after: options.after, kept: keptOnResume(resumed, opened) };
      return { record, opened, resumed: resumed.session, ends: [] };
    }
    const address = options.address ?? "";
    const record = newRecord(candidate.provider, opened, { ...options, address }, now());
    if (options.mode === "move") {
      requireNotMoved(journal, opened.isStill);
      requireUnmarked(record);
    }
    return { record, opened, resumed: null, ends: earlier.map(({ session }) => session) };
  } catch (thrown) {
    opened.close();
    throw thrown;
  }
}

async function locked(home: string, record: SessionRecord, work: () => Promise<void>): Promise<void> {
  const release = lockSession(home, record);
  try {
    await work();
  } finally {
    release();
  }
}

/** The error for a VM that another destination may own by now. */
function releasedElsewhere(record: SessionRecord): MigrateError {
  return new MigrateError(
    "in-doubt",
    `${record.name} was released to ${record.address}, which has not said yet that it owns it`,
    {
      side: "source",
      phase: "handover",
      session: record.session,
      vm: record.name,
      hint: `migrate resolve ${record.session.slice(0, 12)} asks there`,
    },
  );
}

function busyElsewhere(record: SessionRecord): MigrateError {
  return new MigrateError("vm-busy", `${record.name} was being sent by another process until just now`, {
    side: "source",
    session: record.session,
    vm: record.name,
    hint: `migrate status shows session ${record.session.slice(0, 12)}; then run the command again`,
  });
}
