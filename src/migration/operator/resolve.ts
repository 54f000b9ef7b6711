/**
 * `migrate resolve`: settles a session whose end is open, by asking the other side or, where that
 * cannot be, by a person's explicit word.
 *
 * What the journal and the other side know goes first; a word is only taken where it cannot make two
 * owners out of what this host knows. That a person has looked at the other host is the person's part.
 */
import { join } from "node:path";
import { loadIdentity } from "../../channel/identity.ts";
import { openHome } from "../../home/home.ts";
import { renameNoReplace, syncFolder } from "../../platform/rename.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { migratedSuffix } from "../../protocol/names.ts";
import { Staging, stagingPath } from "../../vm/folder/staging.ts";
import { isPublishedBy, publishedManifest } from "../destination/published-manifest.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import {
  endResident,
  isResident,
  relinkResident,
  requireResident,
  resumeResident,
} from "../providers/qemu/resident-vm.ts";
import { retireVm } from "../providers/qemu/retire-vm.ts";
import type { Observer } from "../report/events.ts";
import { tellCancelled } from "../source/cancellation.ts";
import { lockSession } from "../source/claim.ts";
import { type GivingUp, giveUpRunning, isToGoOnHere } from "../source/give-up.ts";
import { Source } from "../source/source.ts";
import { parseAddressText } from "../source/source-link.ts";
import { type SessionRow, sessionRow } from "./status.ts";

export interface ResolveOptions {
  home: string;
  /** A session's id or an unambiguous beginning of it. */
  session: string;
  /** A person's word: who owns the VM, or that the session is given up. */
  decision?: "source" | "destination" | "cancel" | undefined;
  insecure: boolean;
  passphrase: () => Promise<string>;
  retryForMs: number;
  signal: AbortSignal;
}

/**
 * Settles the session and gives what the journal says of it then. Throws MigrateError: "usage" for
 * a session that is not known, "in-doubt" where it is still open, "policy" where the word would
 * contradict what is known.
 */
export async function resolveSession(options: ResolveOptions, observe: Observer): Promise<SessionRow> {
  const home = openHome(options.home);
  const journal = Journal.open(home);
  try {
    const record = findSession(journal, options.session);
    if (record.side === "source") await resolveSource(journal, home, record, options, observe);
    else await resolveDestination(journal, home, record, options);
    return sessionRow(journal.find(record.session)!);
  } finally {
    journal.close();
  }
}

function findSession(journal: Journal, prefix: string): SessionRecord {
  const found = journal.findByPrefix(prefix.toLowerCase());
  if (found.length === 1) return found[0]!;
  throw new MigrateError(
    "usage",
    found.length === 0 ? `no session begins with ${prefix}` : `${found.length} sessions begin with ${prefix}`,
    { hint: "migrate status and migrate history list them" },
  );
}

async function resolveSource(
  journal: Journal,
  home: string,
  found: SessionRecord,
  options: ResolveOptions,
  observe: Observer,
): Promise<void> {
  const release = lockSession(home, found);
  // What was read before the lock was held may be out of date: a send may just have released the VM.
  const record = journal.find(found.session)!;
  const now = Date.now();
  const write = (label: string, change: Partial<SessionRecord>) =>
    journal.write(label, () => journal.update(record.session, { ...change, updatedAtMs: now }));
  const givingUp = async (): Promise<GivingUp> => {
    const insecure = record.peer === "insecure" || record.peer === "";
    const identity = insecure ? null : await loadIdentity(home, { passphrase: options.passphrase });
    return { home, journal, identity, observe, now: () => Date.now() };
  };
  try {
    switch (options.decision) {
      case "cancel":
        if (record.state === "released" || record.state === "confirmed") throw tooLate(record);
        if (isToGoOnHere(record)) return await giveUpRunning(record.session, await givingUp());
        if (record.state === "sending") write("cancelled", { state: "cancelled", endedAtMs: now });
        await tellDestination(journal, home, record.session, options, observe);
        return;
      case "source":
        if (record.state === "confirmed") throw tooLate(record);
        if (record.state === "released") write("cancelled", { state: "cancelled", endedAtMs: now });
        // A VM that ran stands still: it goes on now.
        if (isToGoOnHere(journal.find(record.session)!)) {
          await giveUpRunning(record.session, await givingUp());
        }
        return;
      case "destination":
        if (record.state === "sending" || record.state === "cancelled") {
          throw new MigrateError(
            "policy",
            `${record.name} was never released; the destination cannot own it`,
            {
              side: "source",
              hint: "run migrate send again, or --cancel to give the session up",
            },
          );
        }
        if (record.state === "released") write("confirmed", { state: "confirmed", phase: "confirm" });
        if (!record.settled) await retireVm(record, home);
        // Nobody else needs to hear of it: the session is over here.
        if (record.endedAtMs === null) write("retired", { settled: true, endedAtMs: now });
        return;
    }
    if (isToGoOnHere(record)) return await giveUpRunning(record.session, await givingUp());
    if (record.state === "sending") {
      throw new MigrateError("in-doubt", `${record.name} is being sent; this host owns it`, {
        side: "source",
        hint: "run migrate send again to go on, or give it up with --cancel",
      });
    }
    if (record.state === "cancelled") {
      await tellDestination(journal, home, record.session, options, observe);
      return;
    }
    if (record.endedAtMs !== null) return;
    const identity =
      record.peer === "insecure" ? null : await loadIdentity(home, { passphrase: options.passphrase });
    try {
      await new Source({
        home,
        journal,
        session: record.session,
        vm: null,
        files: null,
        identity,
        address: parseAddressText(record.address),
        lanes: 1,
        compression: "off",
        retryForMs: options.retryForMs,
        signal: options.signal,
        observe,
        now: () => Date.now(),
      }).run();
    } catch (thrown) {
      // The destination gave it back: a VM that ran stands still here, and goes on now.
      if (!isToGoOnHere(journal.find(record.session)!)) throw thrown;
      await giveUpRunning(record.session, await givingUp());
    }
  } finally {
    release();
  }
}

/** Tells the destination, where it can be reached, that a session was given up. */
async function tellDestination(
  journal: Journal,
  home: string,
  session: string,
  options: ResolveOptions,
  observe: Observer,
): Promise<void> {
  const { peer, address, acknowledged } = journal.find(session)!;
  if (acknowledged || peer === "") return;
  try {
    const identity =
      peer === "insecure" ? null : await loadIdentity(home, { passphrase: options.passphrase });
    await tellCancelled({ home, journal, identity, peer, address: parseAddressText(address), observe });
  } catch (thrown) {
    observe({
      event: "warning",
      message: `given up here; the destination could not be told yet: ${asMigrateError(thrown).message}`,
    });
  }
}

async function resolveDestination(
  journal: Journal,
  home: string,
  record: SessionRecord,
  options: ResolveOptions,
): Promise<void> {
  const nowMs = Date.now();
  let believed = record.state;
  // A serve may be at work on the session: a word holds only for the state that it was given for.
  const write = (label: string, change: Partial<SessionRecord>) => {
    journal.write(label, () => {
      if (journal.find(record.session)?.state !== believed) throw movedOn(record);
      journal.update(record.session, { ...change, updatedAtMs: nowMs });
    });
    believed = change.state ?? believed;
  };
  const staging = () => new Staging(record.store ?? ".", record.session, record.files);
  switch (options.decision) {
    case "destination":
      if (record.mode === "copy") {
        throw new MigrateError("policy", `${record.name} comes as a copy; there is no ownership to settle`, {
          side: "destination",
          hint: "run migrate send --copy again on the source, or give the session up with --cancel",
        });
      }
      if (record.state !== "ready" && record.state !== "owner") {
        throw new MigrateError(
          "policy",
          `${record.name} is ${record.state} here; only a VM that is whole can be owned`,
          {
            side: "destination",
          },
        );
      }
      requireResident(record, home);
      if (record.state === "ready") write("owner", { state: "owner", phase: "handover" });
      if (!record.settled) {
        const folder = staging().publish(record.name, publishedManifest(record, nowMs), (folder) =>
          isPublishedBy(folder, record.session),
        );
        relinkResident(record, home, folder);
      }
      if (record.machine !== null) await resumeResident(record, home);
      // Over here, whether or not the source comes back to confirm it: it is answered in any case.
      if (record.endedAtMs === null) write("published-files", { settled: true, endedAtMs: nowMs });
      return;
    case "source":
    case "cancel":
      if (isLost(record, home)) {
        write("cancelled", { state: "cancelled", endedAtMs: nowMs });
        await endResident(record, home);
        // It may have run here and written to its disks: what is there is kept, under another name.
        setAside(record);
        return;
      }
      if (record.state === "owner" || record.state === "closed" || record.state === "published")
        throw tooLate(record);
      // A VM that is whole may have been released already: then the word must be said outright.
      if (record.state === "ready" && record.mode === "move" && options.decision === "cancel") {
        throw new MigrateError(
          "in-doubt",
          `${record.name} is whole here, and the source may have let go of it`,
          {
            side: "destination",
            hint: "ask on the source (migrate resolve there); --owner source, if you know that it has it",
          },
        );
      }
      if (record.state !== "cancelled") write("cancelled", { state: "cancelled", endedAtMs: nowMs });
      await endResident(record, home);
      staging().remove();
      return;
  }
  if (record.endedAtMs !== null) return;
  throw new MigrateError(
    "in-doubt",
    `${record.name} is ${record.state} here (${stagingPath(record.store ?? ".", record.session)})`,
    {
      side: "destination",
      hint: `the source settles it: run migrate resolve ${record.session.slice(0, 12)} there, or say --owner source or --owner destination here`,
    },
  );
}

/** A running VM that came here, and whose QEMU is gone before the source was told that it runs. */
function isLost(record: SessionRecord, home: string): boolean {
  return record.machine !== null && record.state === "owner" && !isResident(record, home);
}

function setAside(record: SessionRecord): void {
  const folder = join(record.store ?? ".", record.name);
  if (!isPublishedBy(folder, record.session)) return;
  renameNoReplace(folder, `${folder}${migratedSuffix}-${record.session.slice(0, 8)}`);
  syncFolder(record.store ?? ".");
}

function tooLate(record: SessionRecord): MigrateError {
  return new MigrateError("policy", `${record.name} is ${record.state}; that cannot be taken back`, {
    side: record.side,
  });
}

function movedOn(record: SessionRecord): MigrateError {
  return new MigrateError("busy", `${record.name} is being received at this moment; its state has changed`, {
    side: "destination",
    hint: "look at it with migrate status, and say the word again if it still holds",
  });
}
