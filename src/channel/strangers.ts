/**
 * Connections of peers that have not proven who they are. Anybody who reaches the port
 * can open them, so they are limited in number and in time. If there are too many, the address with the most
 * of them loses the one that has waited longest, since an honest peer needs milliseconds and few connections:
 * neither those who idle nor those who come in crowds lock others out. Addresses from which a trusted peer has
 * come keep half of the places, however many other addresses there are.
 */
import { addressGroup } from "./address-group.ts";

/** Why a stranger has to go. */
export type Farewell = "crowded" | "late";

interface Stranger {
  group: string;
  timer: Timer;
}

export class Strangers<Link> {
  readonly #most: number;
  readonly #patienceMs: number;
  readonly #away: (link: Link, why: Farewell) => void;
  /** In the order in which they came. */
  readonly #waiting = new Map<Link, Stranger>();
  /** By group of addresses, in the order in which they came. */
  readonly #groups = new Map<string, Set<Link>>();
  #known: ReadonlySet<string> = new Set();

  /** Takes how many may wait at once, for how many milliseconds, and what turns one away. */
  constructor(most: number, patienceMs: number, away: (link: Link, why: Farewell) => void) {
    this.#most = most;
    this.#patienceMs = patienceMs;
    this.#away = away;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** The addresses from which trusted peers have come. */
  know(addresses: readonly string[]): void {
    this.#known = new Set(addresses.map(addressGroup));
  }

  /** One more has come, from this address. */
  add(link: Link, address: string): void {
    if (this.#waiting.size >= this.#most) {
      const one = this.#superfluous();
      if (one !== undefined) this.#dismiss(one, "crowded");
    }
    const group = addressGroup(address);
    const timer = setTimeout(() => this.#dismiss(link, "late"), this.#patienceMs);
    this.#waiting.set(link, { group, timer });
    const links = this.#groups.get(group) ?? new Set();
    this.#groups.set(group, links.add(link));
  }

  /** It is no stranger any more, or gone. Harmless when it was none. */
  drop(link: Link): void {
    const stranger = this.#waiting.get(link);
    if (stranger === undefined) return;
    clearTimeout(stranger.timer);
    this.#waiting.delete(link);
    const links = this.#groups.get(stranger.group);
    links?.delete(link);
    if (links?.size === 0) this.#groups.delete(stranger.group);
  }

  /** Who goes for the next one to come in. */
  #superfluous(): Link | undefined {
    const groups = [...this.#groups];
    const known = groups.filter(([group]) => this.#known.has(group));
    const others = groups.filter(([group]) => !this.#known.has(group));
    const knownCount = known.reduce((sum, [, links]) => sum + links.size, 0);
    // As many places as are kept are kept from the others alone.
    const from = others.length === 0 || knownCount > this.#most / 2 ? known : others;
    const [largest] = from.sort(([, one], [, other]) => other.size - one.size);
    return largest?.[1].values().next().value;
  }

  #dismiss(link: Link, why: Farewell): void {
    this.drop(link);
    this.#away(link, why);
  }
}
