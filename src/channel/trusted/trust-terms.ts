/**
 * What a line of the trust file may say beside whom it trusts: until when, and how much a source may bring. Each term is
 * `key=value`, once, between the name and the comment. Pure.
 */

/** Terms of one line, or of all lines of one host. */
export interface TrustTerms {
  /** As it is written: a day (2027-01-31, to its end, UTC), or a time (RFC 3339). */
  expires?: string;
  /** Bytes of one VM that the source may bring. */
  maxBytes?: number;
  /** VMs of this source that may lie in the store, those under way included. */
  maxVms?: number;
  /** Sessions of this source that may be open at a time. */
  maxSessions?: number;
  /** No VM goes to it, or comes from it, unless it proves what it runs. */
  attest?: "required";
}

/** The terms that are about a source alone. */
const ofSources = ["maxBytes", "maxVms", "maxSessions"] as const;

const units = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const;
const mostCount = 65_536;

interface Term {
  key: string;
  name: keyof TrustTerms;
  /** The value, or null if it is none. */
  read(text: string): string | number | null;
  /** What it must be, as the end of a sentence. */
  form: string;
  write(value: string | number): string;
}

const count = (key: string, name: keyof TrustTerms): Term => ({
  key,
  name,
  read: (text) => within(text, 1, mostCount),
  form: `a whole number from 1 to ${mostCount}`,
  write: String,
});

const terms: readonly Term[] = [
  {
    key: "expires",
    name: "expires",
    read: (text) => (endOf(text) === null ? null : text),
    form: "a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z",
    write: String,
  },
  {
    key: "max-bytes",
    name: "maxBytes",
    read: bytesOf,
    form: "bytes from 1 on, K, M, G and T being powers of 1024: 1T",
    write: (value) => sizeText(Number(value)),
  },
  count("max-vms", "maxVms"),
  count("max-sessions", "maxSessions"),
  {
    key: "attest",
    name: "attest",
    read: (text) => (text === "required" ? text : null),
    form: "required",
    write: String,
  },
];

/** The terms that these words of a line are, or what is wrong with them, as a sentence without its end. */
export function parseTerms(words: readonly string[]): TrustTerms | string {
  const found: TrustTerms = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    const term = terms.find(({ key }) => equals > 0 && key === word.slice(0, equals));
    if (term === undefined) {
      const keys = terms.map(({ key }) => `${key}=`).join(", ");
      return `there is something behind the name that is neither a # comment nor one of ${keys}`;
    }
    if (found[term.name] !== undefined) return `${term.key} stands there twice`;
    const value = term.read(word.slice(equals + 1));
    if (value === null) return `${term.key} must be ${term.form}`;
    Object.assign(found, { [term.name]: value });
  }
  return found;
}

/** The reverse of `parseTerms`: words, with a blank before each. */
export function termsText(given: TrustTerms): string {
  return terms
    .map(({ key, name, write }) => (given[name] === undefined ? "" : ` ${key}=${write(given[name])}`))
    .join("");
}

/** The terms among what a peer's line says. */
export function termsIn(given: TrustTerms): TrustTerms {
  return Object.fromEntries(
    terms.flatMap(({ name }) => (given[name] === undefined ? [] : [[name, given[name]]])),
  );
}

/** True if they say how much may be brought. */
export function limitsSource(given: TrustTerms): boolean {
  return ofSources.some((name) => given[name] !== undefined);
}

/** What holds where several lines are about one host: the first end, and the least of each number. */
export function strictest(all: readonly TrustTerms[]): TrustTerms {
  const result: TrustTerms = {};
  for (const given of all) {
    if (
      given.expires !== undefined &&
      (result.expires === undefined || endsBefore(given.expires, result.expires))
    )
      result.expires = given.expires;
    if (given.attest !== undefined) result.attest = given.attest;
    for (const name of ofSources) {
      if (given[name] !== undefined) result[name] = Math.min(given[name], result[name] ?? given[name]);
    }
  }
  return result;
}

/** True if the time is over; `nowMs` is Unix time. */
export function isExpired({ expires }: TrustTerms, nowMs: number): boolean {
  return expires !== undefined && nowMs >= endOf(expires)!;
}

/** The last day of it, in UTC: of terms that have an end. */
export function lastDayOf({ expires = "" }: TrustTerms): string {
  return dayBefore(endOf(expires) ?? 0);
}

/** The day, in UTC, that ends with this Unix time, in milliseconds, or in which it lies. */
export function dayBefore(endMs: number): string {
  return new Date(endMs - 1).toISOString().slice(0, 10);
}

/**
 * The Unix time in milliseconds from which on it is over: the end of a day in UTC, or the time itself; null for what is
 * neither, or is no date that there is.
 */
export function endOf(text: string): number | null {
  const match =
    /^(\d{4}-\d\d-\d\d)(?:T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))?$/.exec(
      text,
    );
  if (match === null) return null;
  const day = new Date(`${match[1]}T00:00:00Z`);
  if (Number.isNaN(day.getTime()) || !day.toISOString().startsWith(match[1]!)) return null;
  return match[2] === undefined ? day.getTime() + 24 * 3_600_000 : Date.parse(text);
}

function endsBefore(one: string, other: string): boolean {
  return endOf(one)! < endOf(other)!;
}

function within(text: string, least: number, most: number): number | null {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return value >= least && value <= most ? value : null;
}

function bytesOf(text: string): number | null {
  const match = /^(\d{1,15})([KMGT]?)$/.exec(text);
  if (match === null) return null;
  const bytes = Number(match[1]) * units[match[2] as keyof typeof units];
  return bytes >= 1 && Number.isSafeInteger(bytes) ? bytes : null;
}

/** In the largest unit that makes it a whole number. */
function sizeText(bytes: number): string {
  const [unit, factor] = Object.entries(units).findLast(([, size]) => bytes % size === 0)!;
  return `${bytes / factor}${unit}`;
}
