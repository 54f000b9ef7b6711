/**
 * Watches over a process that moves a running VM. If that process dies (SIGKILL, out of memory), the VM may
 * be stopped with nobody to resume it: the guard does so, from the journal alone, unless the VM was released.
 */

import { loadHostIdentity } from "../../attestation/host-identity.ts";
import { openHome } from "../../home/home.ts";
import { childEnvironment } from "../../platform/confine/child-environment.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { Journal } from "../journal/journal.ts";
import { providerOf } from "../providers/providers.ts";
import type { Observer } from "../report/events.ts";
import { applyLocally, type LocalOptions } from "./apply-locally.ts";
import { lockSession } from "./session-lock.ts";

/** What the watched process writes before it ends; without it, that process has died. */
const farewell = "done\n";
const lockTries = 100;
const lockPauseMs = 50;
/** Only the guard resumes the VM: if its QEMU cannot be reached, it tries again. */
const giveUpTries = 10;
const giveUpPauseMs = 1_000;

/**
 * Starts the guard of a session. `self` is the command that starts this program. Returns a function that ends
 * the guard.
 */
export function startGuard(self: readonly string[], home: string, session: string): () => Promise<void> {
  const child = Bun.spawn([...self, "send-guard", session], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    // A Ctrl-C in the terminal is meant for the watched process, which then ends the guard.
    detached: true,
    env: childEnvironment({ MIGRATE_HOME: home }),
    cwd: "/",
  });
  child.unref();
  return async () => {
    child.stdin.write(farewell);
    await child.stdin.end();
    await child.exited;
  };
}

export interface WatchOptions {
  home: string;
  session: string;
  /** What the watched process writes; ends when that process ends. */
  input: AsyncIterable<Uint8Array>;
}

/**
 * Waits until the watched process ends; if it died, gives the move up and resumes the VM. Throws
 * MigrateError.
 */
export async function watchOver(
  { home: path, session, input }: WatchOptions,
  observe: Observer,
): Promise<void> {
  let said = "";
  for await (const piece of input) said = (said + Buffer.from(piece).toString()).slice(-farewell.length);
  if (said === farewell) return;
  const home = openHome(path);
  const journal = Journal.open(home);
  try {
    const record = journal.find(session);
    if (record === null || !providerOf(record).standsStill(record)) return;
    const release = await lockOf(home, record);
    try {
      // Nobody is there to unseal an identity: the destination is then told later.
      const insecure = record.peer === "insecure";
      const locked = () => Promise.reject(new MigrateError("passphrase-wrong", "nobody is there to ask"));
      const identity = async () =>
        insecure ? null : await loadHostIdentity(home, { passphrase: locked }).catch(() => null);
      await giveUpInTheEnd(session, { home, journal, identity, observe, now: () => Date.now() });
    } finally {
      release();
    }
  } finally {
    journal.close();
  }
}

async function giveUpInTheEnd(session: string, local: LocalOptions): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await applyLocally(session, { type: "given-up" }, local);
      return;
    } catch (thrown) {
      if (tries === giveUpTries) throw thrown;
      await Bun.sleep(giveUpPauseMs);
    }
  }
}

/** The dead process's lock is released a moment later; a new send may hold it by now. */
async function lockOf(home: string, record: { session: string; name: string }): Promise<() => void> {
  for (let tries = 1; ; tries++) {
    try {
      return lockSession(home, record);
    } catch (thrown) {
      if (tries === lockTries) throw thrown;
      await Bun.sleep(lockPauseMs);
    }
  }
}
