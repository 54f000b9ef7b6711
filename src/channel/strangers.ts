/**
 * Connections that have not said who they are. Anybody who reaches the port can open them, so they
 * are limited in number and in time; where there are too many the one that has waited longest goes,
 * since an honest peer needs milliseconds and a squatter waits: those who idle cannot lock others out.
 */
import { MigrateError } from "../protocol/errors.ts";

/** What can be turned away. */
export interface Stranger {
  destroy(error: MigrateError): void;
}

export class Strangers<Link extends Stranger> {
  readonly #most: number;
  readonly #patienceMs: number;
  readonly #lateness: string;
  /** In the order in which they came. */
  readonly #waiting = new Map<Link, Timer>();

  /** Takes how many may wait at once, for how many milliseconds, and what is said of one who is late. */
  constructor(most: number, patienceMs: number, lateness: string) {
    this.#most = most;
    this.#patienceMs = patienceMs;
    this.#lateness = lateness;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** One more has come. */
  add(link: Link): void {
    const [oldest] = this.#waiting.keys();
    if (this.#waiting.size >= this.#most && oldest !== undefined) {
      this.#away(oldest, new MigrateError("network", "too many connections at once"));
    }
    const late = () => this.#away(link, new MigrateError("network", this.#lateness));
    this.#waiting.set(link, setTimeout(late, this.#patienceMs));
  }

  /** It is no stranger any more, or gone. Harmless when it was none. */
  settle(link: Link): void {
    clearTimeout(this.#waiting.get(link));
    this.#waiting.delete(link);
  }

  #away(link: Link, error: MigrateError): void {
    this.settle(link);
    link.destroy(error);
  }
}
