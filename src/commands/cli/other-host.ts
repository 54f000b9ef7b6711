/** The other host that a command may be asked about: `migrate status HOST:PORT`, `migrate history HOST:PORT`. */
import type { Reporter } from "../../terminal/reporter.ts";
import { readValue, usageErrors } from "./arguments.ts";
import { passphraseFrom, passphraseOptions, type World, warnInsecure } from "./context.ts";
import { toggle } from "./option.ts";
import { type Called, calledHost, type OpenHost, openHost, type SshHostOptions } from "./ssh-host.ts";

export const otherHostPositional = {
  names: ["HOST:PORT"],
  least: 0,
  about: ["Another host, where migrate serve runs; or ssh://[USER@]HOST[:PORT][/STORE]"],
};

export const otherHostOptions = {
  insecure: toggle("The other host serves with --insecure"),
  ...passphraseOptions,
};

export interface OtherHost {
  /** As the person named it. */
  where: string;
  called: Called;
  insecure: boolean;
  passphrase: () => Promise<string>;
  /** Says which host it is that has answered, where the address does not. */
  notice: (message: string) => void;
}

/**
 * Returns the host that a command was given, having warned of an insecure link to it; null if it was given none. Throws
 * MigrateError "usage".
 */
export function otherHost(
  command: string,
  [where]: readonly string[],
  { insecure, passphraseFile }: { insecure: boolean; passphraseFile: string | undefined },
  { world, reporter }: { world: World; reporter: Reporter },
): OtherHost | null {
  const refuse = usageErrors(command);
  if (where === undefined) {
    if (insecure) throw refuse("--insecure needs a HOST:PORT");
    return null;
  }
  const called = readValue("HOST:PORT", () => calledHost(where), refuse);
  if (called.ssh !== undefined && insecure)
    throw refuse("--insecure is not for a host that is reached by ssh", "Leave it out.");
  warnInsecure(reporter, insecure);
  const notice = (message: string) => reporter.note(message);
  return { where, called, insecure, passphrase: passphraseFrom(world, passphraseFile), notice };
}

/** Asks the host, with the way to it open as long as that takes. Throws what `ask` throws. */
export async function whileOpen<Answer>(
  { called, passphrase }: OtherHost,
  options: Omit<SshHostOptions, "passphrase">,
  around: { world: World; reporter: Reporter },
  ask: (host: Pick<OpenHost, "address" | "way">) => Promise<Answer>,
): Promise<Answer> {
  const host = openHost(called, { ...options, passphrase }, around);
  try {
    return await ask(host);
  } finally {
    await host.close();
  }
}
