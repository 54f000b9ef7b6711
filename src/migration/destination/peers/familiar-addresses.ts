/**
 * The addresses from which trusted sources have come, by their groups (channel/address-group.ts): they keep places at
 * the doors (channel/strangers.ts).
 */
import { addressGroup } from "../../../channel/address-group.ts";

/** Addresses that are remembered; the one that came last longest ago goes. */
export const mostFamiliar = 256;

export class FamiliarAddresses {
  readonly #addresses: Set<string>;
  readonly #tell: (addresses: readonly string[]) => void;

  /** Takes those that are known already; `tell` receives all of them, now and whenever there is a new one. */
  constructor(known: readonly string[], tell: (addresses: readonly string[]) => void) {
    this.#addresses = new Set(known.map(addressGroup).slice(0, mostFamiliar));
    this.#tell = tell;
    tell([...this.#addresses]);
  }

  /** A trusted source has come from there. */
  add(from: string): void {
    const address = addressGroup(from);
    if (this.#addresses.delete(address)) {
      // The one that came last is the last to go.
      this.#addresses.add(address);
      return;
    }
    const [oldest] = this.#addresses;
    if (this.#addresses.size >= mostFamiliar) this.#addresses.delete(oldest!);
    this.#addresses.add(address);
    this.#tell([...this.#addresses]);
  }
}
