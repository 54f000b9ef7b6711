/**
 * The control connections of each source. Those that have not spoken for a session are limited in number: if
 * there are too many, the one that was opened first goes, so a source keeps nobody else out, and not even itself.
 */

/** Connections of one source that speak for no session: `migrate status`, and what was opened again after a cut. */
const mostIdle = 32;
/** Connections of all sources, those included that speak for a session. */
const mostLinks = 1024;

export class PeerLinks<Link> {
  readonly #away: (link: Link) => void;
  /** By source, in the order in which they came. */
  readonly #idle = new Map<string, Set<Link>>();
  readonly #sources = new Map<Link, string>();

  /** `away` closes a connection that has to go. */
  constructor(away: (link: Link) => void) {
    this.#away = away;
  }

  /** A connection of a source that was let in. */
  add(source: string, link: Link): void {
    const idle = this.#idle.get(source) ?? new Set();
    this.#idle.set(source, idle);
    this.#sources.set(link, source);
    idle.add(link);
    if (idle.size > mostIdle) this.#dismiss(idle);
    else if (this.#sources.size > mostLinks) {
      const most = [...this.#idle.values()].reduce((a, b) => (a.size >= b.size ? a : b));
      this.#dismiss(most);
    }
  }

  /** It speaks for a session now. */
  bound(link: Link): void {
    this.#unlist(link);
  }

  /** It is gone. Harmless if it was not there. */
  drop(link: Link): void {
    this.#unlist(link);
    this.#sources.delete(link);
  }

  #dismiss(idle: Set<Link>): void {
    const [oldest] = idle;
    if (oldest === undefined) return;
    this.drop(oldest);
    this.#away(oldest);
  }

  #unlist(link: Link): void {
    const source = this.#sources.get(link);
    const idle = source === undefined ? undefined : this.#idle.get(source);
    idle?.delete(link);
    if (idle?.size === 0) this.#idle.delete(source!);
  }
}

/** Who shares with whom: a host by its fingerprint; without authentication, by its address. Pure. */
export function sourceOf(peer: string, remote: string): string {
  return peer === "insecure" ? `insecure ${remote}` : peer;
}
