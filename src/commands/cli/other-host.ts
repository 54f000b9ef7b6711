/** The other host that a command may be asked about: `migrate status HOST:PORT`, `migrate history HOST:PORT`. */
import type { Address } from "../../channel/address.ts";
import type { Reporter } from "../../terminal/reporter.ts";
import { readValue, usageErrors } from "./arguments.ts";
import { passphraseFrom, passphraseOptions, type World, warnInsecure } from "./context.ts";
import { toggle } from "./option.ts";
import { destinationAddress } from "./unix-address.ts";

export const otherHostPositional = {
  names: ["HOST:PORT"],
  least: 0,
  about: ["Another host, where migrate serve runs"],
};

export const otherHostOptions = {
  insecure: toggle("The other host serves with --insecure"),
  ...passphraseOptions,
};

export interface OtherHost {
  /** As the person named it. */
  where: string;
  address: Address;
  insecure: boolean;
  passphrase: () => Promise<string>;
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
  const to = readValue("HOST:PORT", () => destinationAddress(where), refuse);
  warnInsecure(reporter, insecure);
  return { where, address: to, insecure, passphrase: passphraseFrom(world, passphraseFile) };
}
