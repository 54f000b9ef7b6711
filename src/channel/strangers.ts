/**
 * Connections of peers that have not proven who they are. Anybody who reaches the port
 * can open them, so they are limited in number and in time; if there are too many the one that has
 * waited longest goes, since an honest peer needs milliseconds and a squatter waits: those who idle
 * cannot lock others out.
 */

/** Why a stranger has to go. */
export type Farewell = "crowded" | "late";

export class Strangers<Link> {
  readonly #most: number;
  readonly #patienceMs: number;
  readonly #away: (link: Link, why: Farewell) => void;
  /** In the order in which they came. */
  readonly #waiting = new Map<Link, Timer>();

  /** Takes how many may wait at once, for how many milliseconds, and what turns one away. */
  constructor(most: number, patienceMs: number, away: (link: Link, why: Farewell) => void) {
    this.#most = most;
    this.#patienceMs = patienceMs;
    this.#away = away;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** One more has come. */
  add(link: Link): void {
    const [oldest] = this.#waiting.keys();
    if (this.#waiting.size >= this.#most && oldest !== undefined) this.#dismiss(oldest, "crowded");
    this.#waiting.set(
      link,
      setTimeout(() => this.#dismiss(link, "late"), this.#patienceMs),
    );
  }

  /** It is no stranger any more, or gone. Harmless when it was none. */
  drop(link: Link): void {
    clearTimeout(this.#waiting.get(link));
    this.#waiting.delete(link);
  }

  #dismiss(link: Link, why: Farewell): void {
    this.drop(link);
    this.#away(link, why);
  }
}
