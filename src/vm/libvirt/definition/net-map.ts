/**
 * `--net-map`: which network or bridge of the destination is behind which card. "default=br0,52:54:00:12:34:56=none,
 * ovs0=network:lan,none": by the source's network or bridge, by MAC, and a bare value for all other cards. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { printable } from "../../../protocol/printable.ts";
import type { DomainCard } from "./domain.ts";
import type { CardPlace } from "./landed-domain.ts";
import { bridgeName, networkName } from "./rules/interface-rules.ts";
import { mac } from "./rules/values.ts";

export interface NetMap {
  /** By MAC in lower case, as "52:54:00:12:34:56", or by the name of the source's network or bridge. */
  readonly cards: ReadonlyMap<string, CardPlace>;
  /** For cards that no key is about; null: as at the source. */
  readonly others: CardPlace | null;
}

export const netMapForm = "NAME|MAC=bridge:BRIDGE|network:NETWORK|user|none,…";

const mostEntries = 256;

/**
 * Reads the words of `--net-map`. A value without "bridge:" or "network:" is a bridge's name.
 * @throws MigrateError "usage" for what is no map: an empty part, a key or a bare value that is there twice, a name
 *   that no network or bridge has.
 */
export function readNetMap(text: string): NetMap {
  const cards = new Map<string, CardPlace>();
  let others: CardPlace | null = null;
  const parts = text.split(",");
  if (parts.length > mostEntries) throw wrong(`it has more than ${mostEntries} parts`);
  for (const part of parts) {
    const equals = part.indexOf("=");
    if (equals < 0) {
      if (others !== null) throw wrong("it has two values for all other cards");
      others = readPlace(part);
      continue;
    }
    const key = keyOf(part.slice(0, equals));
    if (cards.has(key)) throw wrong(`"${printable(key)}" is there twice`);
    cards.set(key, readPlace(part.slice(equals + 1)));
  }
  return { cards, others };
}

/** What the map puts behind a card; "same" if it says nothing of it. A MAC comes before a name. */
export function cardPlaceOf(
  { cards, others }: NetMap,
  { mac: address, source }: DomainCard,
): CardPlace | "same" {
  const byMac = address === null ? undefined : cards.get(address.toLowerCase());
  const byName = source.name === null ? undefined : cards.get(source.name);
  return byMac ?? byName ?? others ?? "same";
}

/** The keys of the map that no card of the domain has: likely a slip of the person who wrote it. */
export function unusedKeys({ cards }: NetMap, domainCards: readonly DomainCard[]): string[] {
  const used = new Set(
    domainCards.flatMap(({ mac: address, source }) => [address?.toLowerCase(), source.name]),
  );
  return [...cards.keys()].filter((key) => !used.has(key));
}

function keyOf(key: string): string {
  if (mac.test(key)) return key.toLowerCase();
  if (!networkName.test(key))
    throw wrong(`"${printable(key)}" is neither a MAC nor a name of a network or bridge`);
  return key;
}

function readPlace(value: string): CardPlace {
  if (value === "none" || value === "user") return { kind: value };
  const [, kind = "bridge", name = ""] = /^(?:(network|bridge):)?(.*)$/s.exec(value) ?? [];
  if (kind === "network" && networkName.test(name)) return { kind, name };
  if (kind === "bridge" && bridgeName.test(name)) return { kind, name };
  throw wrong(`"${printable(value)}" is no ${kind}`);
}

function wrong(why: string): MigrateError {
  return new MigrateError("usage", `--net-map is not right: ${why}`, {
    hint: `It has the form ${netMapForm}.`,
  });
}
