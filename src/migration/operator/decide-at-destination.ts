/**
 * Carries out a person's decision on a session at the destination. A `migrate serve` may be working on the
 * session at the same time, so this uses only the store, the run folder and the journal.
 */
import { join } from "node:path";
import { renameNoReplace, syncFolder } from "../../platform/files/rename.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { migratedSuffix } from "../../protocol/names.ts";
import { checkLanded, Staging, stagingPath } from "../../vm/folder/staging.ts";
import { isPublishedBy, publishedManifest } from "../destination/published-manifest.ts";
import type { Change, Journal, SessionRecord } from "../journal/journal.ts";
import { isReleaseCode } from "../journal/release-code.ts";
import { type DestinationAction, destinationStep } from "../ownership/destination-machine.ts";
import type { DestinationRecord } from "../ownership/records.ts";
import type { Decision } from "../ownership/source-machine.ts";
import type { Resident } from "../providers/arrival.ts";
import { providerOf } from "../providers/providers.ts";

/** What a person shows for the word that the VM is the destination's: the source's code, or that there is none. */
export type ReleaseProof = { code: string } | "without-code";

/** What settles a session: a person's decision, or the source's receipt for RELEASE. */
export type Settling =
  | { decision: Decision; proof?: ReleaseProof | undefined }
  | { decision: "release-shown" };

interface Host {
  home: string;
  journal: Journal;
  /** Signs that this host owns the VM of a session, where receipts are given. Never throws. */
  signOwned: (session: string) => Promise<void>;
}

/**
 * Carries out what settles the session. Throws MigrateError "policy" or "in-doubt" if it would contradict what this host
 * knows, "cancelled" or "in-doubt" if the session's state has changed meanwhile, and what the system or QEMU
 * fails with.
 */
export async function decideAtDestination(
  session: string,
  settling: Settling,
  { home, journal, signOwned }: Host,
): Promise<void> {
  const record = journal.find(session)!;
  const { decision } = settling;
  if (decision === "ask" && record.endedAtMs !== null) return;
  const resident = providerOf(record).resident(record, home);
  const from = record.state as DestinationRecord;
  const { actions } = destinationStep(
    {
      record: from,
      mode: record.mode,
      witness: {
        published: isPublishedBy(folderOf(record), session),
        runs: await resident.runs(),
      },
      program: resident.program,
    },
    decision === "release-shown"
      ? { type: decision }
      : { type: "decided", decision, proven: isProven(record, settling.proof) },
  );
  for (const action of actions) {
    if (action === "sign-owned") await signOwned(session);
    else await perform(action, record, resident, journal);
  }
}

/** Throws MigrateError "policy" if a code is given that is not the source's. */
function isProven({ release, name }: SessionRecord, proof: ReleaseProof | undefined): boolean {
  if (proof === undefined) return false;
  if (proof === "without-code") return true;
  if (release === null) {
    throw new MigrateError(
      "policy",
      `the source began the move of ${name} without a code, as earlier versions do`,
      {
        side: "destination",
        hint: "if the source is gone for good and the VM never runs there again, say --without-code",
      },
    );
  }
  if (isReleaseCode(proof.code, release)) return true;
  throw new MigrateError("policy", `that is not the code with which the source has released ${name}`, {
    side: "destination",
    hint: "run migrate status on the source: it shows the code of a session that is released",
  });
}

async function perform(
  action: DestinationAction,
  record: SessionRecord,
  resident: Resident,
  journal: Journal,
): Promise<void> {
  const { session, store, name, files } = record;
  const nowMs = Date.now();
  const staging = () => new Staging(store ?? ".", session, files);
  const isOurs = (folder: string) => isPublishedBy(folder, session);
  // A `migrate serve` may be working on the session: a decision holds only for the state on which it was
  // made.
  const step = (to: DestinationRecord, change: Change) =>
    journal.write(to, () =>
      journal.step(
        session,
        { side: "destination", from: record.state as DestinationRecord, to },
        { ...change, updatedAtMs: nowMs },
      ),
    );
  switch (action) {
    case "record-owner":
      // The journal may have been restored from a backup that is older than the removal of the files.
      if (!isOurs(folderOf(record))) {
        staging().checkPresent();
        checkLanded(staging().folder, providerOf(record).landed(record));
      }
      return step("owner", { phase: "handover" });
    case "record-cancelled":
      return step("cancelled", { endedAtMs: nowMs });
    case "publish-files":
      if (record.settled) return;
      resident.relink(staging().publish(name, publishedManifest(record, nowMs, staging().stamps()), isOurs));
      return;
    case "run-vm":
      return resident.resume();
    case "record-ended":
      if (record.endedAtMs !== null) return;
      journal.write("published-files", () =>
        journal.update(session, { settled: true, endedAtMs: nowMs, updatedAtMs: nowMs }),
      );
      return;
    case "end-vm":
      return resident.end();
    case "remove-staging":
      staging().remove();
      return;
    case "set-aside":
      return setAside(record);
    default:
      throw refused(record, action);
  }
}

function folderOf({ store, name }: SessionRecord): string {
  return join(store ?? ".", name);
}

function setAside(record: SessionRecord): void {
  const folder = folderOf(record);
  if (!isPublishedBy(folder, record.session)) return;
  renameNoReplace(folder, `${folder}${migratedSuffix}-${record.session.slice(0, 8)}`);
  syncFolder(record.store ?? ".");
}

function refused({ name, state, store, session }: SessionRecord, refusal: DestinationAction): MigrateError {
  const side = "destination";
  const id = session.slice(0, 12);
  switch (refusal) {
    case "refuse-copy":
      return new MigrateError("policy", `${name} comes as a copy; there is no ownership to settle`, {
        side,
        hint: "run migrate send --copy again on the source, or give the session up with --cancel",
      });
    case "refuse-not-whole":
      return new MigrateError("policy", `${name} is ${state} here; only a VM that is whole can be owned`, {
        side,
      });
    case "refuse-gone":
      return new MigrateError("policy", `${name} was a running VM, and its QEMU here is gone`, {
        side,
        hint: "it stands still at the source, whole: say --owner source there, and here",
      });
    case "refuse-unproven":
      return new MigrateError(
        "policy",
        `${name} is whole here, and nothing shows that the source has let go of it`,
        {
          side,
          hint: "give the code that migrate status shows on the source (--code CODE), or what migrate receipt show writes there (--receipt FILE). If the source is gone for good, --without-code does without: should the VM run there, or be started there again, it then runs twice",
        },
      );
    case "refuse-too-late":
      return new MigrateError("policy", `${name} is ${state}; that cannot be taken back`, { side });
    case "refuse-maybe-released":
      return new MigrateError("in-doubt", `${name} is whole here, and the source may have let go of it`, {
        side,
        hint: "ask on the source (migrate resolve there); --owner source, if you know that it has it",
      });
    case "refuse-doubt":
      return new MigrateError(
        "in-doubt",
        `${name} is ${state} in the journal, but it was published or runs here: the journal is older than that`,
        {
          side,
          hint: `look at ${folderOf({ store, name } as SessionRecord)} and at what runs; if the VM is this host's, say --owner destination`,
        },
      );
    case "refuse-open":
      return new MigrateError(
        "in-doubt",
        `${name} is ${state} here (${stagingPath(store ?? ".", session)})`,
        {
          side,
          hint: `the source settles it: run migrate resolve ${id} there, or say --owner source or --owner destination here`,
        },
      );
    default:
      return new MigrateError("bug", `nobody carries out ${refusal}`, { side });
  }
}
