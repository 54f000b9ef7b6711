/** What a destination puts behind a VM's network cards, as a flag's value. */
import { MigrateError } from "../../protocol/errors.ts";
import type { CardPolicy, NetPolicy } from "../../vm/qemu/definition/command-line.ts";

/** What the help says of it. */
export const netPolicyForm = "user|bridge:NAME|none|CARD=…";

/** How the value is explained where it is an option. */
export const netPolicyAbout =
  "for all cards (those that had the like at the source), or, with commas, card by card, by number from 0 or MAC: 0=bridge:br0,1=none";

const mac = /^[\da-f]{2}(?::[\da-f]{2}){5}$/;

/**
 * "user", "bridge:NAME" or "none" for all cards, "CARD=…" for one, or several of these with commas in between.
 * @throws MigrateError "usage"; its message ends a sentence that begins with the flag.
 */
export function parseNetPolicy(text: string): NetPolicy {
  let forAll: CardPolicy | undefined;
  const cards: { card: number | string; behind: CardPolicy }[] = [];
  for (const piece of text.split(",")) {
    const equals = piece.indexOf("=");
    const behind = cardPolicyOf(piece.slice(equals + 1));
    if (behind === null)
      throw new MigrateError("usage", `must be user, bridge:NAME or none, not "${piece.slice(equals + 1)}"`);
    if (equals < 0) {
      if (forAll !== undefined) throw new MigrateError("usage", "says two things for all cards");
      forAll = behind;
      continue;
    }
    const card = cardOf(piece.slice(0, equals).toLowerCase());
    if (card === null)
      throw new MigrateError(
        "usage",
        `must name a card by its number or MAC address, not "${piece.slice(0, equals)}"`,
      );
    if (cards.some((other) => other.card === card))
      throw new MigrateError("usage", `names card ${card} twice`);
    cards.push({ card, behind });
  }
  return { ...(forAll ?? { kind: "none" }), ...(cards.length === 0 ? {} : { cards }) };
}

function cardOf(text: string): number | string | null {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  return mac.test(text) ? text : null;
}

function cardPolicyOf(text: string): CardPolicy | null {
  if (text === "user" || text === "none") return { kind: text };
  // At most 15 bytes: IFNAMSIZ of linux/if.h, less its end.
  const bridge = /^bridge:([A-Za-z0-9._-]{1,15})$/.exec(text)?.[1];
  return bridge === undefined ? null : { kind: "bridge", bridge };
}
