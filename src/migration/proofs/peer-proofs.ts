/**
 * What the other host of one connection has to prove, and has proven: asks it, holds it against this host's policy for
 * it, and keeps the evidence (SPEC.md, Attestation). The same on both sides.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Binding } from "../../attestation/evidence/binding.ts";
import {
  type Evidence,
  evidenceDigest,
  evidenceText,
  keptProofOf,
  type Moment,
} from "../../attestation/evidence/evidence-file.ts";
import { requireSameBoot } from "../../attestation/evidence/same-boot.ts";
import { type Finding, Judge } from "../../attestation/policy/judge.ts";
import {
  makeAttestFolder,
  readPolicy,
  selectionOf,
  wantsLogs,
} from "../../attestation/policy/policy-file.ts";
import type { PlatformState } from "../../attestation/structures/platform-state.ts";
import { Verifier, type VerifierLink } from "../../attestation/verifier.ts";
import { replaceHomeFile } from "../../home/home-file.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { Journal } from "../journal/journal.ts";
import type { Observer } from "../report/events.ts";

export interface PeerProofsOptions {
  home: string;
  journal: Journal;
  observe: Observer;
  now: () => number;
}

/** How long a VM that stands still waits for a proof, in milliseconds: a TPM that is well takes a tenth of a second. */
export const stillnessMs = 10_000;
/** Proofs of one connection: a move has three at each end, and begins its streams anew now and then. */
const mostProofs = 16;

export class PeerProofs {
  readonly #options: PeerProofsOptions;
  readonly #binding: Binding;
  readonly #verifier: Verifier;
  /** What the first proof of this connection has shown, and the evidence so far. */
  #first: { state: PlatformState; evidence: Evidence } | undefined;
  /** Of a connection's logs only what is new is read. */
  #judge: Judge | undefined;
  /** IMA's list as far as it has come. */
  #heardIma: Buffer | null = null;
  #isKept = true;
  #policyVersion = 0;
  #isAllowed = false;

  constructor(link: VerifierLink, binding: Binding, options: PeerProofsOptions) {
    this.#options = options;
    this.#binding = binding;
    this.#verifier = new Verifier(link, binding);
  }

  get verifier(): Verifier {
    return this.#verifier;
  }

  /** SHA-256 of the evidence so far, as it will be kept; null before the first proof. Hex 64. */
  get digest(): string | null {
    return this.#first === undefined ? null : evidenceDigest(evidenceText(this.#first.evidence));
  }

  /**
   * Has the other host prove its state now. Throws MigrateError "attestation" if it does not, or if that state is not
   * what this host's policy for it allows, or if there is none; "home-unusable" for a policy that cannot be read; and
   * what ends the link.
   */
  async require(moment: Moment, name: string): Promise<void> {
    const { home, journal, observe } = this.#options;
    const { prover, session } = this.#binding;
    const beganMs = performance.now();
    const found = readPolicy(home, prover);
    if (found === null) throw notRecorded(prover);
    const { policy, digest, text } = found;
    this.#policyVersion = policy.version;
    const selection = selectionOf(policy);
    const wants = wantsLogs(policy);
    const first = this.#first?.state;
    // It is the same one for as long as the connection stands, as is seen to below.
    if (first === undefined) requireNewest(journal, prover, policy.version);
    if ((this.#first?.evidence.proofs.length ?? 0) >= mostProofs)
      throw new MigrateError("protocol", "too many proofs were given on one connection");
    const heardIma = this.#heardIma;
    const proof = await this.#verifier.prove({
      ...{ selection, policyDigest: digest, akPublic: policy.attestationKey },
      ...(moment === "release" ? { withinMs: stillnessMs } : {}),
      // Also where nothing depends on it: what differs is then said in words, and a log that lies is found.
      events: first === undefined,
      ...(wants.ima ? { imaFrom: heardIma?.length ?? 0 } : {}),
    });
    if (first !== undefined && this.#first!.evidence.policy !== text)
      throw new MigrateError("attestation", "the policy for this host was changed while it was at it", {
        hint: "begin again: the other host is then held against the new one from the beginning",
      });
    const state: PlatformState = {
      ...proof.state,
      eventLog: first?.eventLog ?? proof.state.eventLog,
      imaLog: joined(heardIma, proof.state.imaLog),
    };
    this.#heardIma = state.imaLog;
    this.#judge ??= new Judge(policy);
    const judgement = this.#judge.judge(state);
    this.#isAllowed = false;
    this.#note(moment, { ...proof, state }, text);
    try {
      if (first !== undefined) requireSameBoot(first.clock, state.clock);
      if (!judgement.allowed) throw Object.assign(refused(prover, judgement.findings), { state });
    } catch (thrown) {
      this.keep();
      throw thrown;
    }
    this.#isAllowed = true;
    const seconds = (performance.now() - beganMs) / 1000;
    const { version } = policy;
    observe({ event: "attested", session, name, peer: prover, moment, policy: version, seconds });
    // Before anything that follows; what stands still does not wait for it.
    if (moment !== "release" && moment !== "again") this.keep();
  }

  /** As `keep`, for what goes on without it: what fails is said. */
  tryToKeep(): void {
    try {
      this.keep();
    } catch (thrown) {
      const { message } = asMigrateError(thrown);
      this.#options.observe({ event: "warning", message: `the evidence of a proof is not kept: ${message}` });
    }
  }

  /** Keeps the evidence durably, where that has not been done. Throws MigrateError "home-unusable". */
  keep(): void {
    // Of what is about no session nothing stays (SPEC.md, Asking).
    if (this.#isKept || this.#first === undefined || this.#binding.session === "") return;
    const { home, journal, now } = this.#options;
    const { evidence } = this.#first;
    const text = evidenceText(evidence);
    const { session, attempt, role, prover } = evidence;
    const folder = makeAttestFolder(home, "evidence");
    const file = join(folder, `${session}-${attempt}-${role}.json`);
    replaceHomeFile(file, text);
    const surplus = journal.write("verdict", () =>
      journal.keepVerdict({
        ...{ session, role, peer: prover, file, digest: evidenceDigest(text), atMs: now() },
        ...{ moment: evidence.proofs.at(-1)!.moment, bytes: Buffer.byteLength(text) },
        ...{ policyVersion: this.#policyVersion, allowed: this.#isAllowed },
      }),
    );
    for (const old of surplus) rmSync(old, { force: true });
    this.#isKept = true;
  }

  #note(moment: Moment, proof: Parameters<typeof keptProofOf>[2], policy: string): void {
    const atMs = this.#options.now();
    const { role, prover, verifier, exporter, session, attempt } = this.#binding;
    this.#first ??= {
      state: proof.state,
      evidence: {
        ...{ evidence: "migrate attest v1", role, prover, verifier },
        exporter: Buffer.from(exporter).toString("hex"),
        ...{ session, attempt, policy, proofs: [] },
      },
    };
    const { evidence, state } = this.#first;
    evidence.proofs.push(keptProofOf(moment, atMs, proof, evidence.proofs.length === 0 ? undefined : state));
    this.#isKept = false;
  }
}

function joined(before: Buffer | null, more: Buffer | null): Buffer | null {
  if (before === null || more === null) return more;
  return more.length === 0 ? before : Buffer.concat([before, more]);
}

/** A policy that is older than one that was used for this host has come back from somewhere. */
export function requireNewest(journal: Journal, host: string, version: number): void {
  const newest = journal.write("policy", () => journal.usePolicy(host, version));
  if (version >= newest) return;
  throw new MigrateError(
    "attestation",
    `the policy for ${host} has version ${version}, and version ${newest} was in use before`,
    {
      hint: "somebody has put an older one back; look at it, and record that host anew with migrate attest record --update",
    },
  );
}

export function notRecorded(host: string): MigrateError {
  return new MigrateError("attestation", `this host has no policy for ${host}`, {
    hint: "when that host is known to be good, migrate attest record makes one, and shows it first",
  });
}

/** What of a state the policy does not allow, at most so many sentences of it. */
const mostFindings = 4;

/** A proof that is good, of a state that the policy does not allow. */
export class NotAsRecorded extends MigrateError {
  /** What was proven in its place. */
  state: PlatformState | undefined;
}

function refused(host: string, findings: readonly Finding[]): NotAsRecorded {
  const wrong = findings.filter(({ fault }) => fault);
  const told = wrong.slice(0, mostFindings).map(({ words }) => words);
  const more = wrong.length - told.length;
  return new NotAsRecorded(
    "attestation",
    `${host} is not in the state that was recorded. ${told.join(" ")}${more > 0 ? ` And ${more} more.` : ""}`,
    {
      hint: "migrate attest verify shows all of it; where the change is known to be good, migrate attest record --update takes it over. What was released already is settled by what the other host has signed as well (migrate resolve --receipt)",
    },
  );
}
