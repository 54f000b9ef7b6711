/**
 * What the destination puts behind a VM's network cards. A card has nothing behind it unless this host says
 * otherwise: what is said for all cards reaches those alone that had the like at the source, what is said for one
 * card reaches that one; and what the guest could not reach there it reaches nowhere unless its card is named.
 *
 * The migration stream sets limits. Checked with QEMU 7.2: the stream of a VM with the user network holds a section
 * "slirp" that only a user network takes, and a virtio card that had a tap device behind it ("saved image requires
 * vnet_hdr=on") can only resume with a tap device. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { screenNotes, type VncPolicy } from "./consoles/display.ts";
import { hasDefaultNic, type NetworkPart, type Pair, type QemuDefinition, type VmModel } from "./model.ts";
import { valueIn, writePairs } from "./option-syntax.ts";

/** What is behind a card. */
export type CardPolicy = { kind: "user" } | { kind: "bridge"; bridge: string } | { kind: "none" };

/** What this host puts behind cards: for all that it fits, and for some by number (from 0) or MAC address. */
export type NetPolicy = CardPolicy & { cards?: readonly { card: number | string; behind: CardPolicy }[] };

/** What a card has behind it here, in one word. */
export type CardOutcome = CardPolicy["kind"];

/** Returns the number of the descriptor by which QEMU finds a tap device that is a port of the bridge. */
export type MakeTap = (bridge: string) => number;

/** IFNAMSIZ of linux/if.h, less its end. */
const bridgeName = /^[A-Za-z0-9._-]{1,15}$/;

type Card = Pick<NetworkPart, "source" | "header" | "restricted" | "network" | "pairs"> & {
  id: string | null;
  isVirtio: boolean;
  mac: string | null;
};

export class NetworkArguments {
  readonly #model: VmModel;
  readonly #policy: NetPolicy;
  readonly #tap: MakeTap | undefined;
  readonly #cards: readonly Card[];
  readonly #behind: readonly CardPolicy[];

  /**
   * `tap` is called for each card that is to be on a bridge; without it QEMU's own helper makes the tap device.
   * @throws MigrateError "policy" if the policy does not fit what the cards had, "usage" for a name that is no bridge's.
   */
  constructor(model: VmModel, policy: NetPolicy, tap?: MakeTap) {
    this.#model = model;
    this.#policy = policy;
    this.#tap = tap;
    this.#cards = hasDefaultNic(model) ? [defaultCard] : networksOf(model).map((part) => cardOf(model, part));
    this.#behind = this.#cards.map((card, number) => this.#choose(card, number));
    this.#checkApart();
  }

  /** What each card has behind it, in their order. */
  get outcomes(): CardOutcome[] {
    return this.#behind.map(({ kind }, number) => (this.#isCutOff(number) ? "none" : kind));
  }

  /** Whether QEMU must start its helper for bridges. */
  get usesHelper(): boolean {
    return this.#tap === undefined && this.#behind.some(({ kind }) => kind === "bridge");
  }

  /** Whether QEMU itself opens connections of this host: its user network does, and its helper for bridges. */
  get usesHost(): boolean {
    return this.usesHelper || this.outcomes.includes("user");
  }

  /** The value of a -netdev or -nic. */
  value(part: NetworkPart): string {
    const number = networksOf(this.#model).indexOf(part);
    const id: Pair[] = part.id === null ? [] : [{ key: "id", value: part.id }];
    const [first, ...more] = this.#backend(number);
    return writePairs([first!, ...id, ...more, ...part.pairs], "type");
  }

  /** The card that QEMU adds to a VM whose argv has nothing about networks: it is on a user network, and stays there. */
  defaultNic(): string[] {
    if (!hasDefaultNic(this.#model) || !this.#isCutOff(0)) return [];
    return ["-nic", writePairs(this.#backend(0), "type")];
  }

  #backend(number: number): Pair[] {
    const behind = this.#behind[number]!;
    if (behind.kind === "bridge")
      return this.#tap === undefined
        ? [
            { key: "type", value: "bridge" },
            { key: "br", value: behind.bridge },
          ]
        : [
            { key: "type", value: "tap" },
            { key: "fd", value: this.#tap(behind.bridge) },
          ];
    if (this.#cards[number]!.source === "user" || behind.kind === "user")
      return [
        { key: "type", value: "user" },
        { key: "restrict", value: this.#isCutOff(number) },
      ];
    // A hub without any other port: the card is there, and what it sends reaches nothing.
    return [
      { key: "type", value: "hubport" },
      { key: "hubid", value: number + 1 },
    ];
  }

  #isCutOff(number: number): boolean {
    const { kind } = this.#behind[number]!;
    const card = this.#cards[number]!;
    return kind === "none" || (kind === "user" && card.restricted && !this.#isNamed(card, number));
  }

  #choose(card: Card, number: number): CardPolicy {
    const named = this.#policy.cards?.find(({ card: which }) => which === number || which === card.mac);
    // For all cards: only what had the like at the source gets it.
    const fits = this.#policy.kind === card.source;
    const behind = named?.behind ?? (fits ? this.#policy : ({ kind: "none" } as const));
    if (behind.kind === "bridge" && !bridgeName.test(behind.bridge))
      throw new MigrateError("usage", "A bridge's name has at most 15 letters, digits, dots and dashes");
    if (card.source === "user" && behind.kind === "bridge")
      throw new MigrateError(
        "policy",
        `${nameOf(card, number)} is on QEMU's user network, whose state is a part of the VM: the destination has a bridge for it`,
        { hint: `Serve with --net ${number}=user, or leave that card out to cut it off from everything.` },
      );
    if (card.header && card.isVirtio && behind.kind !== "bridge")
      throw new MigrateError(
        "policy",
        `${nameOf(card, number)} is a virtio card on a tap device, and can resume only with one: the destination has ${behind.kind === "user" ? "a user network" : "no network"} for it`,
        { hint: "Serve with --net bridge:NAME." },
      );
    return behind;
  }

  /** What was on two bridges must not come to be on one because of what is said for all. */
  #checkApart(): void {
    if (this.#policy.kind !== "bridge") return;
    const { bridge } = this.#policy;
    const unnamed = this.#cards.filter((card, number) => !this.#isNamed(card, number));
    const joined = this.#cards.filter(
      (card, number) =>
        unnamed.includes(card) || (this.#behind[number] as { bridge?: string }).bridge === bridge,
    );
    const networks = new Set(joined.filter((card) => card.source === "bridge").map(({ network }) => network));
    if (networks.size < 2 || !unnamed.some(({ source }) => source === "bridge")) return;
    throw new MigrateError(
      "policy",
      "the VM's cards are on more than one network at the source, and the destination has one bridge for all",
      { hint: "Serve with a bridge for each card, such as --net 0=bridge:br0,1=bridge:br1." },
    );
  }

  #isNamed(card: Card, number: number): boolean {
    return this.#policy.cards?.some(({ card: which }) => which === number || which === card.mac) ?? false;
  }
}

/** A sentence on each card: what was behind it at the source, and what is behind it `where` it is now. */
export function networkNotes(
  model: VmModel,
  outcomes: readonly CardOutcome[],
  where = "at the destination",
): string[] {
  const cards = hasDefaultNic(model) ? [defaultCard] : networksOf(model).map((part) => cardOf(model, part));
  return cards.map((card, number) => {
    const there = card.restricted ? "a user network that reaches nothing" : sources[card.source];
    return `${nameOf(card, number)}: ${there} at the source; ${where} ${here[outcomes[number] ?? "none"]}`;
  });
}

/** Sentences on what is left out or replaced of a VM that goes where its cards become this, if that was told. */
export function changeNotes(
  definition: QemuDefinition,
  cards: readonly CardOutcome[] | undefined,
  vnc?: VncPolicy,
): string[] {
  return [
    ...definition.notes,
    ...screenNotes(definition.shownBy, vnc),
    ...(cards === undefined ? [] : networkNotes(definition, cards)),
  ];
}

const sources: Readonly<Record<NetworkPart["source"], string>> = {
  user: "QEMU's user network",
  bridge: "a device of the host",
  other: "a link to another program",
  none: "nothing",
};
const here: Readonly<Record<CardOutcome, string>> = {
  user: "a user network, which reaches what that host reaches",
  bridge: "a bridge of that host",
  none: "nothing",
};

const defaultCard: Card = {
  id: null,
  source: "user",
  header: false,
  restricted: false,
  network: 0,
  pairs: [],
  isVirtio: false,
  mac: null,
};

function networksOf({ parts }: VmModel): NetworkPart[] {
  return parts.filter((part) => part.kind === "network");
}

function cardOf(model: VmModel, part: NetworkPart): Card {
  const device = model.parts.find(
    (other) => other.kind === "device" && valueIn(other.pairs, "netdev") === part.id,
  );
  const own = part.option === "-nic" ? part.pairs : device?.kind === "device" ? device.pairs : [];
  const mac = valueIn(own, "mac") ?? valueIn(own, "macaddr");
  return { ...part, isVirtio: isVirtio(model, part), mac: mac?.toLowerCase() ?? null };
}

function isVirtio(model: VmModel, part: NetworkPart): boolean {
  if (part.option === "-nic") {
    const card = valueIn(part.pairs, "model");
    return card === undefined ? model.system !== "x86_64" : card.startsWith("virtio");
  }
  return model.parts.some(
    (other) =>
      other.kind === "device" &&
      other.driver.startsWith("virtio-net") &&
      valueIn(other.pairs, "netdev") === part.id,
  );
}

function nameOf({ id, mac }: Card, number: number): string {
  const which = [id === null ? null : `"${id}"`, mac].filter((name) => name !== null).join(", ");
  return `The VM's network card ${number}${which === "" ? "" : ` (${which})`}`;
}
