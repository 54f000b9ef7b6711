/**
 * The gate of a source, on one connection: what stands between WELCOME and OFFER, and opens again before START and RELEASE
 * (SPEC.md, Attestation). Where nobody asked for proofs it does nothing, and no TPM is touched.
 */
import { Prover } from "../../../attestation/prover.ts";
import type { Identity } from "../../../channel/identity.ts";
import type { SourceLink } from "../../../channel/known-destination.ts";
import { TrustFile } from "../../../channel/trust.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Journal, SessionRecord } from "../../journal/journal.ts";
import { PeerProofs, stillnessMs } from "../../proofs/peer-proofs.ts";
import { proveTo } from "../../proofs/proving.ts";
import type { Observer } from "../../report/events.ts";
import { policyOf } from "./own-policy.ts";

/** What a person has asked for. */
export interface GateOptions {
  home: string;
  journal: Journal;
  identity: Identity | null;
  observe: Observer;
  now: () => number;
  /** The destination has to prove what it runs. */
  attests?: boolean | undefined;
  /** This host proves what it runs to a destination that demands it. */
  proves?: boolean | undefined;
  env?: Record<string, string | undefined> | undefined;
}

/** The session for which it is; "" and 0 if there is none. */
interface GateSession {
  session: string;
  attempt: number;
  name: string;
  /** What the journal keeps of the VM, its own policy among it. */
  kept?: SessionRecord["kept"];
  /** Nothing is offered any more: what was released has to end. */
  isReleased?: boolean;
}

export class SourceGate {
  readonly #link: SourceLink;
  readonly #name: string;
  readonly #theirs: PeerProofs | undefined;
  readonly #own: Prover | undefined;
  #fingerprint = "";

  /** Throws MigrateError "attestation" if something is asked for that this connection cannot give. */
  constructor(link: SourceLink, session: GateSession, options: GateOptions) {
    this.#link = link;
    this.#name = session.name;
    const { identity, home, env = {} } = options;
    // Where no proof is to be had, the VM's own policy is kept all the same: before the offer (own-policy.ts).
    const isByVm = policyOf({ kept: session.kept ?? null }).onlyAttested && link.attests && identity !== null;
    const asks = isByVm || mustProve(link.peer, session.session, options);
    if (identity === null) {
      if (asks || link.demands) throw insecure();
      return;
    }
    const { exporter, peer } = link;
    const binding = { exporter, session: session.session, attempt: session.attempt };
    const own = identity.fingerprint;
    if (asks) {
      noteAsked(link.peer, session.session, options);
      if (!link.attests) throw mute();
      this.#theirs = new PeerProofs(
        link.link,
        { ...binding, role: "destination", prover: peer, verifier: own },
        options,
      );
    }
    if (!link.demands || session.isReleased === true) return;
    if (options.proves !== true) throw demanded();
    this.#fingerprint = own;
    this.#own = new Prover({
      ...{ home, env, certificatePem: identity.certificatePem },
      binding: { ...binding, role: "source", prover: own, verifier: peer },
    });
  }

  /** What the destination has proven on this connection: SHA-256 of the evidence, hex 64; null if nothing. */
  get verdict(): string | null {
    return this.#theirs?.digest ?? null;
  }

  /** Before OFFER (or ASK, or a RELEASE that is said again), and before START. */
  async before(moment: "offer" | "start"): Promise<void> {
    await this.#theirs?.require(moment, this.#name);
    await this.#prove();
  }

  /** Before SEAL, to which a destination that demands gives READY only after another proof; the VM stands still. */
  async beforeSeal(): Promise<void> {
    await this.#prove(stillnessMs);
  }

  /** Before `released` is recorded: the VM stands still, and this is one quote. */
  async beforeRelease(): Promise<void> {
    await this.#theirs?.require("release", this.#name);
  }

  /** Keeps what was proven last; once the VM does not wait for it. */
  keep(): void {
    this.#theirs?.tryToKeep();
  }

  async #prove(withinMs?: number): Promise<void> {
    if (this.#own === undefined) return;
    await proveTo(this.#link.link, this.#own, withinMs).catch((thrown: unknown) => {
      throw withWayOut(thrown, this.#fingerprint);
    });
  }
}

/** A person said so, now or beside the host in the trust file; or the session was begun so [ATT-8]. */
function mustProve(
  peer: string,
  session: string,
  { home, journal, attests, identity }: GateOptions,
): boolean {
  if (attests === true) return true;
  if (identity !== null && TrustFile.load(home).terms(peer, "destination")?.attest === "required")
    return true;
  return session !== "" && journal.isAttested(session, "destination");
}

/** From now on the session goes on with proofs, though the first one may never come [ATT-8]. */
function noteAsked(peer: string, session: string, { journal, now }: GateOptions): void {
  if (session === "" || journal.isAttested(session, "destination")) return;
  journal.write("asked", () =>
    journal.keepVerdict({
      ...{ session, role: "destination", peer, moment: "asked", policyVersion: 0, allowed: false },
      ...{ digest: "", file: `asked ${session}`, bytes: 0, atMs: now() },
    }),
  );
}

/** The destination's own advice does not travel: errors of a peer are a code and a sentence. */
function withWayOut(thrown: unknown, own: string): unknown {
  if (!(thrown instanceof MigrateError) || thrown.code !== "attestation" || thrown.hint !== undefined)
    return thrown;
  return new MigrateError(thrown.code, thrown.message, {
    side: thrown.side,
    hint: `what this host has shown waits there for a person, who accepts it with migrate attest record ${own} (--update where it is recorded already)`,
    cause: thrown,
  });
}

function insecure(): MigrateError {
  return new MigrateError(
    "attestation",
    "an insecure connection proves nothing: anybody may be at its other end",
    {
      side: "source",
      hint: "leave out --insecure, and pair the two hosts with a ticket",
    },
  );
}

function mute(): MigrateError {
  return new MigrateError("attestation", "the destination does not prove what it runs", {
    side: "source",
    hint: "nothing of the VM was sent; run migrate serve there with --attest, or, where ssh starts it, give --attest to this command",
  });
}

function demanded(): MigrateError {
  return new MigrateError(
    "attestation",
    "the destination takes VMs only from hosts that prove what they run",
    {
      side: "source",
      hint: "nothing of the VM was sent; run the same command with --prove, which uses this host's TPM",
    },
  );
}
