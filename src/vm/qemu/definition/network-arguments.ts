/**
 * What the destination puts behind a VM's network cards: its own policy, as far as the migration stream
 * lets it. Checked with QEMU 7.2: the stream of a VM with the user network holds a section "slirp" that
 * only a user network takes, and a virtio card that had a tap device behind it ("saved image requires
 * vnet_hdr=on") can only resume with a tap device. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import type { NetworkPart, Pair, QemuDefinition } from "./model.ts";
import { valueIn, writePairs } from "./option-syntax.ts";

/** What the destination puts behind a VM's network cards. */
export type NetPolicy = { kind: "user" } | { kind: "bridge"; bridge: string } | { kind: "none" };

/** Returns the number of the descriptor by which QEMU finds a tap device that is a port of the bridge. */
export type MakeTap = (bridge: string) => number;

/** IFNAMSIZ of linux/if.h, less its end. */
const bridgeName = /^[A-Za-z0-9._-]{1,15}$/;

export class NetworkArguments {
  readonly #definition: QemuDefinition;
  readonly #policy: NetPolicy;
  readonly #tap: MakeTap | undefined;
  #hubs = 0;

  constructor(definition: QemuDefinition, policy: NetPolicy, tap?: MakeTap) {
    if (policy.kind === "bridge" && !bridgeName.test(policy.bridge))
      throw new MigrateError("usage", "A bridge's name has at most 15 letters, digits, dots and dashes");
    this.#definition = definition;
    this.#policy = policy;
    this.#tap = tap;
  }

  /** Whether QEMU must start its helper for bridges. */
  get usesHelper(): boolean {
    return this.#policy.kind === "bridge" && this.#tap === undefined && this.#hasCards;
  }

  /** Whether QEMU itself opens connections of this host: its user network does, and its helper for bridges. */
  get usesHost(): boolean {
    const { defaultNic } = this.#definition;
    return this.usesHelper || (this.#policy.kind === "user" && (this.#hasCards || defaultNic));
  }

  get #hasCards(): boolean {
    return this.#definition.parts.some(({ kind }) => kind === "network");
  }

  /** The value of a -netdev or -nic. @throws MigrateError "policy" if the policy does not fit the card's state. */
  value(part: NetworkPart): string {
    const id: Pair[] = part.id === null ? [] : [{ key: "id", value: part.id }];
    const [first, ...more] = this.#backend(part);
    return writePairs([first!, ...id, ...more, ...part.pairs], "type");
  }

  /** The card that QEMU adds to a VM whose argv has nothing about networks: it is on a user network, and stays there. */
  defaultNic(): string[] {
    if (!this.#definition.defaultNic) return [];
    if (this.#policy.kind === "user") return [];
    return ["-nic", writePairs(this.#user("The VM's network card"), "type")];
  }

  #backend(part: NetworkPart): Pair[] {
    const what = part.id === null ? "The VM's network card" : `The VM's network "${part.id}"`;
    if (part.backend === "user") return this.#user(what);
    if (this.#policy.kind === "bridge") {
      const { bridge } = this.#policy;
      return this.#tap === undefined
        ? [
            { key: "type", value: "bridge" },
            { key: "br", value: bridge },
          ]
        : [
            { key: "type", value: "tap" },
            { key: "fd", value: this.#tap(bridge) },
          ];
    }
    if (part.backend === "tap" && this.#isVirtio(part))
      throw new MigrateError(
        "policy",
        `${what} is a virtio card on a tap device, and can resume only with one: the destination has ${this.#name()}`,
        { hint: "Serve with --net bridge:NAME." },
      );
    if (this.#policy.kind === "user") return this.#user(what);
    this.#hubs += 1;
    // A hub without any other port: the card is there, and what it sends reaches nothing.
    return [
      { key: "type", value: "hubport" },
      { key: "hubid", value: this.#hubs },
    ];
  }

  #user(what: string): Pair[] {
    if (this.#policy.kind === "bridge")
      throw new MigrateError(
        "policy",
        `${what} is on QEMU's user network, whose state is a part of the VM: the destination has ${this.#name()}`,
        { hint: "Serve with --net user, or with --net none to cut it off from everything." },
      );
    return [
      { key: "type", value: "user" },
      { key: "restrict", value: this.#policy.kind === "none" },
    ];
  }

  #name(): string {
    const { kind } = this.#policy;
    return kind === "bridge" ? "a bridge" : kind === "user" ? "a user network" : "no network";
  }

  #isVirtio(part: NetworkPart): boolean {
    if (part.option === "-nic") {
      const model = valueIn(part.pairs, "model");
      return model === undefined ? this.#definition.system !== "x86_64" : model.startsWith("virtio");
    }
    return this.#definition.parts.some(
      (other) =>
        other.kind === "device" &&
        other.driver.startsWith("virtio-net") &&
        valueIn(other.pairs, "netdev") === part.id,
    );
  }
}
