/** The users as which a destination runs VMs, as a flag's value. */
import { MigrateError } from "../../protocol/errors.ts";
import type { UserRange } from "../../vm/confinement/vm-user.ts";

/** Below it are the accounts that hosts have of themselves. */
const leastUser = 1000;
/** Some programs take a user for a signed number. */
const mostUser = 2 ** 31 - 1;

/**
 * "FIRST-LAST" or "off".
 * @throws MigrateError "usage"; its message ends a sentence that begins with the flag.
 */
export function parseUserRange(text: string): UserRange | "off" {
  if (text === "off") return text;
  const [first = Number.NaN, last = Number.NaN] = /^\d{4,10}-\d{4,10}$/.test(text)
    ? text.split("-").map(Number)
    : [];
  if (first >= leastUser && last >= first && last <= mostUser) return { first, last };
  throw new MigrateError(
    "usage",
    `must be off, or two numbers from ${leastUser} to ${mostUser} such as 200000-265535, not "${text}"`,
  );
}
