/** What a command is given to work with: the world around it, so that it can be tested without one. */

import { isSealed } from "../../channel/identity.ts";
import { migrateHome, openHome } from "../../home/home.ts";
import type { Output } from "../../terminal/output.ts";
import {
  askNewSecret,
  askSecret,
  askYes,
  type KeyboardInput,
  readPassphraseFile,
} from "../../terminal/prompt.ts";
import type { Reporter } from "../../terminal/reporter.ts";
import { optional } from "./option.ts";

/** The process as main.ts hands it down; nothing here ends it. */
export interface World {
  env: Record<string, string | undefined>;
  stdin: KeyboardInput;
  stdout: Output;
  stderr: Output;
  /** The size of the terminal. */
  size: () => { columns: number; rows: number };
  /** A clock that is never set back. */
  nowMs: () => number;
  /** Begins to take SIGINT and SIGTERM: the signal is aborted with an Interruption. */
  interrupts: (screen: Pick<Reporter, "aside" | "clear">) => AbortSignal;
  /** Done once, before a command is loaded, in a process that may do what commands need. */
  prepare?: () => Promise<void>;
  /** How this very program is started again: the binary, or bun and main.ts. */
  self: readonly string[];
}

/** The flag of all commands that may need the identity's key. */
export const passphraseOptions = {
  passphraseFile: optional("FILE", "Read the passphrase of a sealed identity from FILE's first line"),
};

export function homeOf(world: World): string {
  return openHome(migrateHome(world.env));
}

/**
 * A function that asks for the passphrase of the sealed identity when it is first called, and returns the same
 * one ever after: from the file if one is named, else on the terminal without echo. It throws MigrateError
 * "usage" if the file cannot be used or there is no terminal, "interrupted" if nobody answers.
 */
export function passphraseFrom(world: World, file: string | undefined): () => Promise<string> {
  let known: Promise<string> | undefined;
  return () => {
    known ??= ask();
    return known;
  };
  async function ask(): Promise<string> {
    if (file !== undefined) return readPassphraseFile(file);
    return askSecret(prompt(world, "Passphrase of this host's identity: "));
  }
}

/** A passphrase to be set: from the file, else asked for twice. Throws as `passphraseFrom` does. */
export async function newPassphraseFrom(world: World, file: string | undefined): Promise<string> {
  if (file !== undefined) return readPassphraseFile(file);
  return askNewSecret(prompt(world, "New passphrase for this host's identity: "));
}

/**
 * The passphrase for a migration, asked before the progress bars have the screen: at once if the
 * identity is sealed, never if it is not.
 */
export async function passphraseBefore(
  world: World,
  home: string,
  file: string | undefined,
): Promise<() => Promise<string>> {
  const passphrase = passphraseFrom(world, file);
  if (isSealed(home)) await passphrase();
  return passphrase;
}

/** A secret asked for on the terminal, without echo. Throws as `passphraseFrom` does. */
export function secretFrom(world: World, question: string, flag: string): Promise<string> {
  return askSecret({ ...prompt(world, question), flag });
}

/** A passphrase to be set for a virtual TPM's state: from the file, "-" asks for it twice. Throws as `passphraseFrom` does. */
export async function tpmPassphraseFrom(world: World, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  if (file !== "-") return readPassphraseFile(file);
  return askNewSecret(prompt(world, "New passphrase for the virtual TPM's state that is kept here: "));
}

/** Warns, each time, of what --insecure gives up. */
export function warnInsecure(reporter: Reporter, insecure: boolean): void {
  if (!insecure) return;
  reporter.warn(
    "--insecure: no authentication, no encryption; whoever is on the way can read and change the VM",
  );
}

/** Whether the person says yes to `question`. Throws MigrateError "usage" without a terminal: a script says --yes. */
export function confirmed(world: World, question: string): Promise<boolean> {
  return askYes(prompt(world, `${question} [y/N] `), "Look at what it is, and give --yes.");
}

function prompt(world: World, question: string) {
  return { input: world.stdin, write: (text: string) => world.stderr.write(text), question };
}
