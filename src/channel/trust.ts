/**
 * Whom this host trusts: `HOME/trust`, a text file that a person may edit, like known_hosts.
 *
 *     # comment
 *     <fingerprint> <roles> <name> [expires=…] [attest=required] [max-bytes=…] [max-vms=…] [max-sessions=…] [# comment]
 *     sha256:9f…64 hex digits…e1 source,destination web-2.example:7600 expires=2027-01-31 # the new rack
 *
 * `roles` is what the peer may be towards us: a `source` may send VMs to us, a `destination` may
 * receive VMs from us; both are written with a comma and no blank. `name` is a label without blanks or
 * `#`; for a destination it is the host:port under which we reach it. One fingerprint may stand under
 * several names, but a name leads to one destination. What its lines say of how long and how much holds together: the
 * first end, and the least of each number. Who has expired is not trusted; his sessions that are open run to their end.
 *
 * A line that cannot be read is an error that names it, not a line passed over: whoever removed a host
 * and slipped must not go on trusting it. Lines that we do not change are kept as they were written.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { readHomeFile, replaceHomeFile, withHomeLock } from "../home/home-file.ts";
import { MigrateError } from "../protocol/errors.ts";
import { parseFingerprint } from "./fingerprint.ts";
import {
  type Line,
  lineOf,
  nameFault,
  type Peer,
  type PeerRole,
  parseLine,
  sortRoles,
} from "./trusted/trust-line.ts";
import { isExpired, strictest, type TrustTerms, termsIn } from "./trusted/trust-terms.ts";

export type { Peer, PeerRole };

/**
 * The trust file of one home. It is read again whenever it changed, so that an edit takes effect in a
 * running process: the questions below are asked of the file as it is now, and throw what load throws.
 */
export class TrustFile {
  readonly #path: string;
  readonly #now: () => number;
  #lines: Line[] = [];
  #version = "";

  private constructor(path: string, now: () => number) {
    this.#path = path;
    this.#now = now;
  }

  /**
   * The trust file of an opened home (see openHome); a file that is absent trusts nobody. `now` is Unix time in
   * milliseconds, by which trust expires.
   * Throws MigrateError "not-trusted", naming file and line, if a line is malformed, and
   * "home-unusable" if others could have written the file.
   */
  static load(home: string, now: () => number = Date.now): TrustFile {
    const file = new TrustFile(join(home, "trust"), now);
    file.#refresh();
    return file;
  }

  /** One entry a line, in the file's order. */
  peers(): Peer[] {
    this.#refresh();
    return this.#lines.flatMap(({ peer }) => (peer === null ? [] : [structuredClone(peer)]));
  }

  /** Whether the peer may take this role towards us. */
  allows(fingerprint: string, role: PeerRole): boolean {
    return this.standing(fingerprint, role) === "trusted";
  }

  /** Whether the peer may take this role towards us, or might until it expired. */
  standing(fingerprint: string, role: PeerRole): "trusted" | "expired" | "unknown" {
    const terms = this.terms(fingerprint, role);
    if (terms === null) return "unknown";
    return isExpired(terms, this.#now()) ? "expired" : "trusted";
  }

  /** On which terms the peer may take this role towards us, be they over or not; null if it may on none. */
  terms(fingerprint: string, role: PeerRole): TrustTerms | null {
    const its = this.peers().filter((peer) => peer.fingerprint === fingerprint && peer.roles.includes(role));
    return its.length === 0 ? null : strictest(its);
  }

  /** The name the peer has in the file (its first), or null. */
  nameOf(fingerprint: string): string | null {
    return this.peers().find((peer) => peer.fingerprint === fingerprint)?.name ?? null;
  }

  /** The fingerprint that the destination of this name (host:port, compared as it is written) must have, or null. */
  knownDestination(name: string): string | null {
    const isIt = (peer: Peer) => peer.name === name && peer.roles.includes("destination");
    return this.peers().find(isIt)?.fingerprint ?? null;
  }

  /** The destinations that are trusted: the name of each (its first) by its fingerprint. */
  destinations(): Map<string, string> {
    const found = new Map<string, string>();
    for (const { fingerprint, roles, name } of this.peers()) {
      if (!roles.includes("destination") || found.has(fingerprint)) continue;
      if (this.allows(fingerprint, "destination")) found.set(fingerprint, name);
    }
    return found;
  }

  /**
   * Trusts a peer in this role, durably. A line with this fingerprint and name gets the role added (and
   * the comment, if it has none, and these terms in place of its own); else a line is added. An end that is over is
   * taken off all lines of the peer, for this role alone: somebody trusts it anew. What they say of how much it may
   * bring stays, and that it has to prove what it runs.
   *
   * A name leads to one destination: a line that had it for another fingerprint loses that role, and
   * is gone if it had no other; that it had to prove what it runs is what the new one has to, too. Returns the peers that were so displaced, as they were; who wants to warn
   * of a changed fingerprint first asks knownDestination.
   *
   * Throws MigrateError "usage" for a fingerprint or name that cannot stand in the file, and what load throws.
   */
  async add(
    fingerprint: string,
    role: PeerRole,
    name: string,
    comment?: string,
    terms: TrustTerms = {},
  ): Promise<Peer[]> {
    const canonical = parseFingerprint(fingerprint);
    if (canonical === null)
      throw new MigrateError("usage", "This is not a fingerprint.", { hint: fingerprintHint });
    requireName(name);
    // Control characters would end the line, or play tricks on the terminal that shows it.
    const note = comment?.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim();
    return this.#change((lines) => {
      const displaced: Peer[] = [];
      const renewed = lines.flatMap((line) => this.#renewed(line, canonical, role));
      const kept = renewed.flatMap((line) => {
        const { peer } = line;
        const clashes =
          peer?.name === name && peer.fingerprint !== canonical && peer.roles.includes("destination");
        if (peer === null || role !== "destination" || !clashes) return [line];
        displaced.push(peer);
        const roles = peer.roles.filter((other) => other !== "destination");
        return roles.length === 0 ? [] : [lineOf({ ...peer, roles })];
      });
      const isIts = ({ peer }: Line) => peer?.fingerprint === canonical && peer.name === name;
      // A line that is over is one for the other role, and stays so.
      const at = kept.findIndex((line) => isIts(line) && !isExpired(line.peer!, this.#now()));
      const old = kept[at]?.peer;
      const roles = sortRoles([role, ...(old?.roles ?? [])]);
      const remark = old?.comment ?? note;
      // Who set a host up anew, or pretends so, does not get round what was demanded of it.
      const demanded = displaced.some(({ attest }) => attest === "required")
        ? { attest: "required" as const }
        : {};
      const its = { ...demanded, ...(old && termsIn(old)), ...terms };
      const line = lineOf({
        fingerprint: canonical,
        roles,
        name,
        ...its,
        ...(remark ? { comment: remark } : {}),
      });
      if (!old) kept.push(line);
      else if (!Bun.deepEquals(line.peer, old)) kept[at] = line;
      return { lines: kept, result: displaced };
    });
  }

  /** The line as it is once its end, if that is over, does not hold any more for this peer in this role. */
  #renewed(line: Line, fingerprint: string, role: PeerRole): Line[] {
    const { peer } = line;
    const isIts = peer?.fingerprint === fingerprint && peer.roles.includes(role);
    if (!isIts || !isExpired(peer, this.#now())) return [line];
    const { expires, ...rest } = peer;
    const others = peer.roles.filter((other) => other !== role);
    const limited = role === "source" ? withoutLimits(rest) : rest;
    const unlimited = role === "source" ? rest : withoutLimits(rest);
    return [
      ...(others.length === 0 ? [] : [lineOf({ ...limited, roles: others, expires: expires! })]),
      lineOf({ ...unlimited, roles: [role] }),
    ];
  }

  /** Trusts no more whoever has this fingerprint (in any spelling) or this name; returns the peers removed. Throws what load throws. */
  async remove(fingerprintOrName: string): Promise<Peer[]> {
    const canonical = parseFingerprint(fingerprintOrName);
    return this.#change((lines) => {
      const goes = (peer: Peer) =>
        canonical === null ? peer.name === fingerprintOrName : peer.fingerprint === canonical;
      return {
        lines: lines.filter(({ peer }) => peer === null || !goes(peer)),
        result: lines.flatMap(({ peer }) => (peer !== null && goes(peer) ? [peer] : [])),
      };
    });
  }

  /** Two writers at once: each changes what the other wrote, not what it read before. */
  #change<T>(edit: (lines: Line[]) => { lines: Line[]; result: T }): Promise<T> {
    return withHomeLock(`${this.#path}.lock`, () => {
      const before = this.#read();
      const { lines, result } = edit(before);
      const text = lines.map((line) => `${line.text}\n`).join("");
      if (text !== before.map((line) => `${line.text}\n`).join("")) replaceHomeFile(this.#path, text);
      this.#refresh();
      return result;
    });
  }

  #refresh(): void {
    // Taken before the file is read: a change in between is then seen the next time.
    const stat = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    const version = stat ? `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}` : "absent";
    if (version === this.#version) return;
    this.#lines = this.#read();
    this.#version = version;
  }

  #read(): Line[] {
    return parseTrust(readHomeFile(this.#path, 0o022) ?? "", this.#path);
  }
}

/** The file's lines; `path` is for the error alone. Throws MigrateError "not-trusted". */
function parseTrust(text: string, path: string): Line[] {
  const rows = text.split("\n");
  if (rows.at(-1) === "") rows.pop();
  const destinations = new Map<string, { number: number; fingerprint: string }>();
  return rows.map((row, index) => {
    const number = index + 1;
    const parsed = parseLine(row);
    if (typeof parsed === "string") throw malformed(path, number, parsed);
    if (parsed?.roles.includes("destination")) {
      const other = destinations.get(parsed.name);
      if (other !== undefined && other.fingerprint !== parsed.fingerprint) {
        throw malformed(
          path,
          number,
          `line ${other.number} has another fingerprint for the same destination`,
        );
      }
      destinations.set(parsed.name, { number, fingerprint: parsed.fingerprint });
    }
    return { text: row, peer: parsed };
  });
}

/** Who it is, without what a source may bring. */
/** Without what is about a source alone; that it has to prove itself is about both roles. */
function withoutLimits({ fingerprint, roles, name, comment, attest }: Peer): Peer {
  return {
    ...{ fingerprint, roles, name },
    ...(attest === undefined ? {} : { attest }),
    ...(comment === undefined ? {} : { comment }),
  };
}

function requireName(name: string): void {
  const fault = nameFault(name);
  if (fault !== null) throw new MigrateError("usage", `This cannot be a peer's name: ${fault}.`);
}

const fingerprintHint = "A fingerprint is sha256: and 64 hex digits; migrate id prints it.";

function malformed(path: string, number: number, fault: string): MigrateError {
  return new MigrateError("not-trusted", `${path}, line ${number}: ${fault}.`, {
    hint: "Correct the line, or put a # before it; until then nobody is trusted.",
  });
}
