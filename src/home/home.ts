/**
 * A host's home: the folder that holds its identity, its trust file and its journal.
 *
 * Whoever can read the home can be this host, and whoever can write it decides whom this host
 * trusts, so it belongs to one user and to nobody else (mode 0700).
 */
import { randomBytes } from "node:crypto";
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { MigrateError } from "../protocol/errors.ts";

/** Files by which a folder is known to be a home of ours already. */
const ownFiles = ["identity.pem", "trust", "journal"];

/**
 * Where this host keeps its home, as an absolute path; nothing is made or looked at.
 *
 * MIGRATE_HOME when it is set and not empty; else /var/lib/migrate for root; else
 * $XDG_STATE_HOME/migrate, or ~/.local/state/migrate if that is unset or relative (the XDG Base
 * Directory Specification says to ignore a relative path).
 */
export function migrateHome(
  env: Readonly<Record<string, string | undefined>>,
  uid: number = process.getuid?.() ?? -1,
): string {
  if (env.MIGRATE_HOME) return resolve(env.MIGRATE_HOME);
  if (uid === 0) return "/var/lib/migrate";
  const state = env.XDG_STATE_HOME;
  if (state && isAbsolute(state)) return join(state, "migrate");
  return join(env.HOME || homedir(), ".local", "state", "migrate");
}

/**
 * Makes the home with mode 0700 (and its parents with the usual mode) if it is absent, and checks
 * that it is a folder, that it is ours and that it can be written. Returns the absolute path.
 *
 * A home that others could enter is closed to 0700 when it is ours and is empty or holds files of
 * this program. A folder with other things in it is refused and left as it is: a MIGRATE_HOME that
 * names /tmp or /etc by mistake must not close that folder to everyone else.
 *
 * Throws MigrateError "home-unusable".
 */
export function openHome(path: string): string {
  const home = resolve(path);
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 });
  } catch (cause) {
    if (codeOf(cause) === "EEXIST") throw unusable(`${home} is not a folder.`, otherHomeHint, cause);
    throw unusable(`The home folder ${home} cannot be made: ${reasonOf(cause)}.`, otherHomeHint, cause);
  }
  // A link to a folder on another disk is fine: what it leads to is what is checked.
  const stat = statSync(home);
  if (!stat.isDirectory()) throw unusable(`${home} is not a folder.`, otherHomeHint);
  if (stat.uid !== process.getuid?.()) {
    throw unusable(
      `The home folder ${home} belongs to another user (uid ${stat.uid}).`,
      "Run migrate as that user, or set MIGRATE_HOME to a folder of your own.",
    );
  }
  if ((stat.mode & 0o077) !== 0) closeToOthers(home);
  requireWritable(home);
  return home;
}

const otherHomeHint = "Set MIGRATE_HOME to a folder that this user can make and write.";

function closeToOthers(home: string): void {
  let entries: string[];
  try {
    entries = readdirSync(home);
  } catch (cause) {
    throw unusable(`The home folder ${home} cannot be read: ${reasonOf(cause)}.`, otherHomeHint, cause);
  }
  const ours = entries.length === 0 || entries.some((name) => ownFiles.some((own) => name.startsWith(own)));
  if (!ours) {
    throw unusable(
      `The home folder ${home} is open to other users and holds files that are not of this program.`,
      "Set MIGRATE_HOME to a folder of its own, or run chmod 700 on it if nobody else needs it.",
    );
  }
  try {
    chmodSync(home, 0o700);
  } catch (cause) {
    throw unusable(
      `The home folder ${home} is open to other users and cannot be closed: ${reasonOf(cause)}.`,
      `Run chmod 700 ${home}.`,
      cause,
    );
  }
}

/** By writing: access(2) tells root that everything can be written. */
function requireWritable(home: string): void {
  const probe = join(home, `.probe.${process.pid}.${randomBytes(6).toString("hex")}`);
  try {
    closeSync(openSync(probe, "wx", 0o600));
    unlinkSync(probe);
  } catch (cause) {
    throw unusable(
      `The home folder ${home} cannot be written: ${reasonOf(cause)}.`,
      `Run chmod 700 ${home}, look for a full or read-only disk, or set MIGRATE_HOME to another folder.`,
      cause,
    );
  }
}

function unusable(message: string, hint: string, cause?: unknown): MigrateError {
  return new MigrateError("home-unusable", message, { hint, cause });
}

function codeOf(cause: unknown): string | undefined {
  return (cause as NodeJS.ErrnoException | undefined)?.code;
}

/** The system's own message, without the path that node appends. */
function reasonOf(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  return text.replace(/^[A-Z0-9]+: /, "").replace(/, \w+( '.*')?$/s, "");
}
