/**
 * The lanes that each source has, and those that wait. A lane costs this host up to a chunk of memory, so one
 * source has a limited number of them over all its sessions; what is too much is let in once another one closes,
 * and until then holds nothing.
 */

/** Lanes of one source. */
const mostLanes = 64;

export class LanePlaces<Asked> {
  /** By connection: the session, and whose it is. */
  readonly #open = new Map<string, { session: string; source: string }>();
  /** By connection, in the order in which they came. */
  readonly #waiting = new Map<string, { asked: Asked; source: string }>();

  get isEmpty(): boolean {
    return this.#open.size === 0;
  }

  /** How many lanes a session has. */
  ofSession(session: string): number {
    return [...this.#open.values()].filter((lane) => lane.session === session).length;
  }

  /**
   * Whether a source may have one more lane: "now", "later" (what it asked is kept until `next` gives it out), or
   * "never", if so many wait that they can never be of use.
   */
  place(conn: string, source: string, asked: Asked): "now" | "later" | "never" {
    if (this.#ofSource(source) < mostLanes) return "now";
    if (this.#waitingOf(source) >= mostLanes) return "never";
    this.#waiting.set(conn, { asked, source });
    return "later";
  }

  open(conn: string, session: string, source: string): void {
    this.#open.set(conn, { session, source });
  }

  /** The connection is gone; true if it was a lane. */
  close(conn: string): boolean {
    this.#waiting.delete(conn);
    return this.#open.delete(conn);
  }

  /** What asked first of those for which there is a place now. */
  next(): Asked | undefined {
    for (const [conn, { asked, source }] of this.#waiting) {
      if (this.#ofSource(source) >= mostLanes) continue;
      this.#waiting.delete(conn);
      return asked;
    }
    return undefined;
  }

  #ofSource(source: string): number {
    return [...this.#open.values()].filter((lane) => lane.source === source).length;
  }

  #waitingOf(source: string): number {
    return [...this.#waiting.values()].filter((lane) => lane.source === source).length;
  }
}
