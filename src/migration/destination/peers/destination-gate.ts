/**
 * The gate of a destination, on one connection: proves what this host runs to a source that asks, and has the source prove
 * the same where this host demands it (SPEC.md, Attestation). Without either no TPM is touched.
 */
import type { Policy } from "../../../attestation/policy/policy.ts";
import { readPolicy } from "../../../attestation/policy/policy-file.ts";
import { isAsked, Prover } from "../../../attestation/prover.ts";
import type { PlatformState } from "../../../attestation/structures/platform-state.ts";
import type { Identity } from "../../../channel/identity.ts";
import type { TrustFile } from "../../../channel/trust.ts";
import { asMigrateError, MigrateError } from "../../../protocol/errors.ts";
import type { Message } from "../../../protocol/messages.ts";
import type { Journal } from "../../journal/journal.ts";
import { NotAsRecorded, PeerProofs } from "../../proofs/peer-proofs.ts";
import { noteChanged, noteSeen } from "../../proofs/seen.ts";
import type { Observer } from "../../report/events.ts";
import type { Asker } from "./asker.ts";

/** What the person who serves has asked for. */
export interface Attesting {
  /** Sources that ask get proofs. */
  proves: boolean;
  /** Every source has to prove itself; otherwise those alone whose line in the trust file says so. */
  demands: boolean;
  env: Record<string, string | undefined>;
}

interface GateContext {
  home: string;
  journal: Journal;
  observe: Observer;
  now: () => number;
  attesting?: Attesting | undefined;
  trust: () => TrustFile;
  /** This host's; null without authentication. */
  identity?: Identity | null;
}

/**
 * Whether a source has to prove itself here: the person who serves says so, or did beside the host in the trust file, or
 * the session that its HELLO names was begun so [ATT-8].
 */
export function isDemanded(
  peer: string | null,
  session: string | null,
  { attesting, trust, journal }: Pick<GateContext, "attesting" | "trust" | "journal">,
): boolean {
  if (attesting?.demands === true) return true;
  if (peer === null || peer === "insecure") return false;
  if (trust().terms(peer, "source")?.attest === "required") return true;
  const verdicts = session === null ? [] : journal.verdictsOf(session);
  return verdicts.some((verdict) => verdict.role === "source" && verdict.peer === peer);
}

/** The connection's keying material and the session that its HELLO named. */
interface Greeted {
  exporter: Uint8Array;
  session: string | null;
  attempt: number;
}

/** What a source may ask for only behind the gate: once it is open, or each time with a proof of its own. */
const once: ReadonlySet<Message["name"]> = new Set(["offer", "ask"]);
const eachTime: ReadonlySet<Message["name"]> = new Set(["start", "seal"]);

export class DestinationGate {
  readonly #asker: Asker;
  readonly #prover: Prover | undefined;
  readonly #theirs: PeerProofs | undefined;
  readonly #context: GateContext;
  readonly #demands: boolean;
  /** The source's last proof on this connection, and whether START or SEAL may still refer to it. */
  #proof: "none" | "fresh" | "used" = "none";
  #hasProven = false;

  constructor(asker: Asker, greeted: Greeted, context: GateContext) {
    this.#asker = asker;
    this.#context = context;
    const { home, attesting, identity = null } = context;
    const { exporter, session, attempt } = greeted;
    const binding = { exporter, session: session ?? "", attempt: session === null ? 0 : attempt };
    this.#demands = isDemanded(asker.peer, session, context);
    if (identity === null) return;
    const { fingerprint, certificatePem } = identity;
    if (attesting?.proves === true)
      this.#prover = new Prover({
        ...{ home, env: attesting.env, certificatePem },
        binding: { ...binding, role: "destination", prover: fingerprint, verifier: asker.peer },
      });
    if (this.#demands)
      this.#theirs = new PeerProofs(
        asker.link,
        { ...binding, role: "source", prover: asker.peer, verifier: fingerprint },
        context,
      );
  }

  /** What the source has proven on this connection: SHA-256 of the evidence, hex 64; null if nothing. */
  get verdict(): string | null {
    return this.#theirs?.digest ?? null;
  }

  /** Whether this host has shown the source what it runs, on this connection; whether that was enough, the source knows. */
  get hasProven(): boolean {
    return this.#hasProven;
  }

  /** Answers what is about proofs; false for any other message. Throws MigrateError. */
  async answer(message: Message): Promise<boolean> {
    if (message.name === "attest") {
      await this.#demand();
      return true;
    }
    if (!isAsked(message)) return false;
    if (this.#prover === undefined)
      throw new MigrateError("attestation", "the destination does not prove what it runs", {
        side: "destination",
      });
    const { name, body } = await this.#prover.answer(message);
    this.#asker.link.send(name, body as never);
    this.#hasProven ||= name === "evidence";
    return true;
  }

  /** Throws MigrateError "attestation" if the source has to prove itself before it may say this [ATT-5]. */
  require(name: Message["name"]): void {
    if (!this.#demands || !(once.has(name) || eachTime.has(name))) return;
    if (this.#proof === "none" || (eachTime.has(name) && this.#proof === "used"))
      throw new MigrateError(
        "attestation",
        "the destination takes VMs only from hosts that prove what they run",
        {
          side: "destination",
        },
      );
    this.#proof = "used";
  }

  /** Has the source prove itself, now. */
  async #demand(): Promise<void> {
    const theirs = this.#theirs;
    if (theirs === undefined)
      throw new MigrateError("attestation", "nothing has to be proven on this connection", {
        side: "destination",
      });
    try {
      await this.#see(theirs);
    } catch (thrown) {
      if (!(thrown instanceof MigrateError) || thrown.code !== "home-unusable") throw thrown;
      // What is wrong with a file here is said here.
      this.#context.observe({ event: "warning", message: thrown.message });
      throw new MigrateError("attestation", "the destination cannot tell what this host has to prove", {
        side: "destination",
        cause: thrown,
      });
    }
    this.#proof = "fresh";
    this.#asker.link.send("verdict", {});
    // What stands still at the source does not wait for it.
    theirs.tryToKeep();
  }

  async #see(theirs: PeerProofs): Promise<void> {
    const { home, observe, now } = this.#context;
    const { peer, remote } = this.#asker;
    const found = readPolicy(home, peer)?.policy;
    if (found === undefined) {
      // A person may then look at what it has shown, and accept it.
      await noteSeen(theirs.verifier, { home, host: peer, name: remote, nowMs: now() });
      observe({ event: "warning", message: unknownHere(peer, remote) });
      throw new MigrateError("attestation", "the destination has no policy for this host yet", {
        side: "destination",
      });
    }
    try {
      await theirs.require(this.#proof === "none" ? "offer" : "again", "");
    } catch (thrown) {
      // Who lies is asked nothing more.
      if (thrown instanceof NotAsRecorded && thrown.state !== undefined)
        this.#noteChanged(found, thrown.state);
      throw thrown;
    }
  }

  /** What the source runs now waits for a person, as what one runs that comes for the first time. Never throws. */
  #noteChanged(before: Policy, state: PlatformState): void {
    const { home, now, observe } = this.#context;
    try {
      noteChanged(home, before, state, now());
    } catch (thrown) {
      observe({ event: "warning", message: asMigrateError(thrown).message });
    }
  }
}

function unknownHere(peer: string, remote: string): string {
  return `${remote}: ${peer} has shown what it runs, and there is no policy for it here: look at it, and accept it, with migrate attest record ${peer}`;
}
