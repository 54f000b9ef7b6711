/** What a destination puts behind a VM's network cards, as a flag's value. */
import { MigrateError } from "../../protocol/errors.ts";
import type { NetPolicy } from "../../vm/qemu/definition/command-line.ts";

/** What the help says of it. */
export const netPolicyForm = "user|bridge:NAME|none";

/**
 * "user", "bridge:NAME" or "none".
 * @throws MigrateError "usage"; its message ends a sentence that begins with the flag.
 */
export function parseNetPolicy(text: string): NetPolicy {
  if (text === "user" || text === "none") return { kind: text };
  // At most 15 bytes: IFNAMSIZ of linux/if.h, less its end.
  const bridge = /^bridge:([A-Za-z0-9._-]{1,15})$/.exec(text)?.[1];
  if (bridge !== undefined) return { kind: "bridge", bridge };
  throw new MigrateError("usage", `must be user, bridge:NAME or none, not "${text}"`);
}
