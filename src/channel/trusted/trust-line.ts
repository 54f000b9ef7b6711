/** A line of the trust file: who is trusted, as what, under which name, and on which terms. Pure. */
import { parseFingerprint } from "../fingerprint.ts";
import { limitsSource, parseTerms, type TrustTerms, termsIn, termsText } from "./trust-terms.ts";

export type PeerRole = "source" | "destination";

export interface Peer extends TrustTerms {
  /** Canonical: sha256:<64 hex digits>. */
  fingerprint: string;
  /** At least one, `source` before `destination`. */
  roles: PeerRole[];
  name: string;
  comment?: string;
}

/** A line of the file as it stands there, and the peer in it if it has one. */
export interface Line {
  text: string;
  peer: Peer | null;
}

const nameMaxChars = 255;

/** A peer, null for a blank line or a comment, or what is wrong with the line. */
export function parseLine(row: string): Peer | null | string {
  const hash = row.indexOf("#");
  const comment = hash < 0 ? "" : row.slice(hash + 1).trim();
  const fields = (hash < 0 ? row : row.slice(0, hash)).trim().split(/\s+/);
  const [fingerprintText = "", rolesText, name, ...rest] = fields;
  if (fingerprintText === "") return null;
  const fingerprint = parseFingerprint(fingerprintText);
  if (fingerprint === null) return "the first word is not a fingerprint";
  const roles = parseRoles(rolesText ?? "");
  if (roles === null) return "the second word must be source, destination or source,destination";
  if (name === undefined) return "the name is missing";
  const fault = nameFault(name);
  if (fault !== null) return fault;
  const terms = parseTerms(rest);
  if (typeof terms === "string") return terms;
  if (limitsSource(terms) && !roles.includes("source"))
    return "max-bytes, max-vms and max-sessions are about a source, which this is not";
  return { fingerprint, roles, name, ...terms, ...(comment === "" ? {} : { comment }) };
}

function parseRoles(text: string): PeerRole[] | null {
  const words = text.split(",");
  const roles = words.filter((word): word is PeerRole => word === "source" || word === "destination");
  return roles.length === words.length && new Set(roles).size === words.length ? sortRoles(roles) : null;
}

export function sortRoles(roles: PeerRole[]): PeerRole[] {
  return (["source", "destination"] as const).filter((role) => roles.includes(role));
}

/** The line of a peer, as this program writes it. */
export function lineOf(peer: Peer): Line {
  const comment = peer.comment === undefined ? "" : ` # ${peer.comment}`;
  const text = `${peer.fingerprint} ${peer.roles.join(",")} ${peer.name}${termsText(termsIn(peer))}${comment}`;
  return { text, peer };
}

/** What keeps this from being a peer's name; null if nothing does. */
export function nameFault(name: string): string | null {
  if (name.length === 0 || name.length > nameMaxChars) return `a name has 1 to ${nameMaxChars} characters`;
  if (/[\s#\x00-\x1f\x7f-\x9f]/.test(name)) return "a name has no blanks, no # and no control characters";
  if (parseFingerprint(name) !== null) return "a name is not a fingerprint";
  return null;
}
