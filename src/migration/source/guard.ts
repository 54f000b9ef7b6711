/**
 * Watches over a process that moves a running VM. Where that process dies (SIGKILL, out of memory), the VM
 * may stand still and nobody would let it go on: this one does, from the journal alone, as long as the VM
 * was not released.
 */

import { loadIdentity } from "../../channel/identity.ts";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { Journal } from "../journal/journal.ts";
import { providerOf } from "../providers/providers.ts";
import type { Observer } from "../report/events.ts";
import { applyLocally, type LocalOptions } from "./apply-locally.ts";
import { lockSession } from "./session-lock.ts";

/** What the watched process says when it ends by itself; without it, it has died. */
const farewell = "done\n";
const lockTries = 100;
const lockPauseMs = 50;
/** Nobody else lets the VM go on: where its QEMU cannot be spoken to, another try may have better luck. */
const giveUpTries = 10;
const giveUpPauseMs = 1_000;

/** Starts the guard of a session. `self` is how this very program is started. Gives what ends the watch. */
export function startGuard(self: readonly string[], home: string, session: string): () => Promise<void> {
  const child = Bun.spawn([...self, "send-guard", session], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    // A Ctrl-C in the terminal is for the process that is watched, which then ends in good order.
    detached: true,
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: process.env.HOME, MIGRATE_HOME: home },
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
  /** What the watched process writes; it ends with that process. */
  input: AsyncIterable<Uint8Array>;
}

/** Waits for the end of the watched process; where that was no good one, sees to the VM. Throws MigrateError. */
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
      // An identity that is sealed cannot be asked for here: then the destination hears of it later.
      const insecure = record.peer === "insecure";
      const locked = () => Promise.reject(new MigrateError("passphrase-wrong", "nobody is there to ask"));
      const identity = async () =>
        insecure ? null : await loadIdentity(home, { passphrase: locked }).catch(() => null);
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

/** The dead process's lock goes with it, a moment later; a new send may have it by now. */
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
