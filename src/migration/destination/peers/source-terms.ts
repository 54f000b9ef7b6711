/**
 * On which terms a source may begin a session here, as the trust file has them at that moment: until when, and how much
 * it may bring. What is under way is not asked again: it runs to its end.
 */
import type { TrustFile } from "../../../channel/trust.ts";
import { isExpired, lastDayOf, type TrustTerms } from "../../../channel/trusted/trust-terms.ts";
import { asMigrateError, type ErrorCode, MigrateError } from "../../../protocol/errors.ts";
import type { SessionSummary } from "../../journal/session-summaries.ts";
import type { Observer } from "../../report/events.ts";
import type { PublishedSessions } from "../published-sessions.ts";

export interface SourceTermsOptions {
  trust: () => TrustFile;
  published: PublishedSessions;
  observe: Observer;
  /** Unix time in milliseconds, by which trust expires. */
  now: () => number;
}

export class SourceTerms {
  readonly #options: SourceTermsOptions;

  constructor(options: SourceTermsOptions) {
    this.#options = options;
  }

  /** Throws MigrateError "not-trusted" if the source is not, or not any more. */
  requireTrusted(peer: string): TrustTerms {
    const terms = this.#trust((file) => file.terms(peer, "source"));
    if (terms === null)
      throw refusal("not-trusted", "the destination does not take VMs from this source any more");
    if (isExpired(terms, this.#options.now()))
      throw refusal("not-trusted", `the destination's trust in this source expired on ${lastDayOf(terms)}`);
    return terms;
  }

  /**
   * Throws MigrateError "busy" or "limit" if the source may begin no session beside those in `open`, all that are open
   * in the store, and "not-trusted" as above.
   */
  requirePlace(peer: string, open: readonly Pick<SessionSummary, "peer" | "settled">[]): void {
    const { maxSessions, maxVms } = this.requireTrusted(peer);
    const own = open.filter((session) => session.peer === peer);
    if (maxSessions !== undefined && own.length >= maxSessions) {
      const count = own.length === 1 ? "a session" : `${own.length} sessions`;
      throw refusal(
        "busy",
        `the destination has ${count} of this source already, and takes ${maxSessions} at a time`,
      );
    }
    if (maxVms === undefined) return;
    // What has its final name is counted where it lies, even while its session is open.
    const vms = this.#options.published.countOf(peer) + own.filter(({ settled }) => !settled).length;
    if (vms < maxVms) return;
    const count = vms === 1 ? "a VM" : `${vms} VMs`;
    throw refusal(
      "limit",
      `the destination has ${count} of this source already, and takes ${maxVms} from it`,
    );
  }

  /** Throws MigrateError "limit" if a VM of so many bytes, RAM included, is more than the source may bring, and "not-trusted" as above. */
  requireSize(peer: string, bytes: number): void {
    requireBytes(bytes, this.requireTrusted(peer).maxBytes);
  }

  /** The same of a VM under way that has become longer: its session may run on, whatever became of the trust, and not beyond its bounds. */
  requireGrown(peer: string, bytes: number): void {
    const { maxBytes } = this.#trust((file) => file.terms(peer, "source")) ?? {};
    requireBytes(bytes, maxBytes);
  }

  /** What is wrong with the trust file is reported on this host only. */
  #trust<T>(ask: (file: TrustFile) => T): T {
    try {
      return ask(this.#options.trust());
    } catch (cause) {
      this.#options.observe({ event: "warning", message: asMigrateError(cause).message });
      throw new MigrateError("not-trusted", "the destination cannot tell whom it trusts", {
        side: "destination",
        cause,
      });
    }
  }
}

function requireBytes(bytes: number, maxBytes: number | undefined): void {
  if (maxBytes === undefined || bytes <= maxBytes) return;
  throw refusal("limit", `the VM has ${bytes} bytes, and the destination takes ${maxBytes} from this source`);
}

function refusal(code: ErrorCode, message: string): MigrateError {
  return new MigrateError(code, message, { side: "destination" });
}
