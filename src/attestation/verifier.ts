/** The host that asks another one, on one connection, to prove what it runs (SPEC.md, Attestation). */
import { randomBytes } from "node:crypto";
import { fingerprintOf } from "../channel/certificate.ts";
import type { ControlLink } from "../channel/control-link.ts";
import type { LogName } from "../protocol/attesting.ts";
import { MigrateError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { Message, MessageBody, MessageName } from "../protocol/messages.ts";
import { checkEkCertificate, type EkCertificateWords } from "./credential/ek-certificate.ts";
import { makeCredential } from "./credential/make-credential.ts";
import { checkHostKey, requireAttestationKey, requireEndorsementKey } from "./credential/shown-keys.ts";
import { type Binding, enrolBinding, isActivationProof, quoteBinding } from "./evidence/binding.ts";
import { checkQuote } from "./evidence/check-quote.ts";
import type { PcrSelection, PlatformState } from "./structures/platform-state.ts";
import { nameOf } from "./structures/public-area.ts";

/** What is asked for. */
export interface Question {
  selection: PcrSelection;
  /** The digest of the policy that the answer is held against; hex 64. */
  policyDigest: string;
  /** TPMT_PUBLIC of the attestation key that has to sign. */
  akPublic: Buffer;
  /** Whether the firmware's log is wanted. */
  events: boolean;
  /** From which byte on IMA's list is wanted; undefined if it is not. */
  imaFrom?: number | undefined;
  /** How long all of the answer may take, in milliseconds; each part as long as a slow TPM needs if it is absent. */
  withinMs?: number | undefined;
}

/** An answer that its TPM has signed, for this connection. */
export interface Proof {
  nonce: string;
  quoted: Buffer;
  signature: Buffer;
  state: PlatformState;
}

/** The keys of another host's TPM, as it has shown that it has them. */
export interface Enrolment {
  ekPublic: Buffer;
  akPublic: Buffer;
  /** Who vouches for the endorsement key; null if its TPM has no certificate. */
  certificate: EkCertificateWords | null;
  /** Whether the host's TLS key was made in that TPM. */
  isHostKeyThere: boolean;
}

/** How long a TPM may take over one answer, in milliseconds: some derive keys for seconds. */
const answerMs = 30_000;

export type VerifierLink = Pick<ControlLink, "send" | "expect" | "fail">;

export class Verifier {
  readonly #link: VerifierLink;
  readonly #binding: Binding;

  constructor(link: VerifierLink, binding: Binding) {
    this.#link = link;
    this.#binding = binding;
  }

  /**
   * Asks the other host for its TPM's keys, and has it show that both are in one TPM. `roots` are certificates (PEM)
   * which a person trusts to vouch for TPMs; if there are any, one has to. Throws MigrateError "attestation" for keys
   * that prove nothing, and what ends the link.
   */
  async enrol(roots: readonly string[]): Promise<Enrolment> {
    const nonce = randomBytes(32).toString("hex");
    const bound = enrolBinding(this.#binding, nonce);
    const keys = await this.#ask("enrol", { nonce }, "enrolled");
    const ekPublic = Buffer.from(keys.ekPublic, "base64");
    const akPublic = Buffer.from(keys.akPublic, "base64");
    requireAttestationKey(akPublic);
    requireEndorsementKey(ekPublic);
    if (keys.ekCertificate === undefined && roots.length > 0) throw uncertified();
    const certificate =
      keys.ekCertificate === undefined
        ? null
        : checkEkCertificate(Buffer.from(keys.ekCertificate, "base64"), ekPublic, roots);
    const secret = randomBytes(32);
    const { credentialBlob, encryptedSecret } = makeCredential(ekPublic, nameOf(akPublic), secret);
    const { proof } = await this.#ask(
      "activate",
      {
        credentialBlob: credentialBlob.toString("base64"),
        encryptedSecret: encryptedSecret.toString("base64"),
      },
      "activated",
    );
    if (!isActivationProof(proof, secret, bound))
      throw new MigrateError(
        "attestation",
        "the attestation key that was shown is not in the TPM of the endorsement key",
        { hint: "somebody may stand in for that host; look at it before you trust it" },
      );
    if (keys.hostKey !== undefined) this.#requireHostKey(keys.hostKey, akPublic, bound);
    return { ekPublic, akPublic, certificate, isHostKeyThere: keys.hostKey !== undefined };
  }

  /** The key that the TPM says it has made has to be the one by which that host is known. */
  #requireHostKey(
    shown: NonNullable<MessageBody<"enrolled">["hostKey"]>,
    akPublic: Buffer,
    qualifyingData: Buffer,
  ): void {
    const tlsCertificate = Buffer.from(shown.certificate, "base64");
    if (fingerprintOf(tlsCertificate) !== this.#binding.prover)
      throw new MigrateError("attestation", "the certificate that was shown is not that of this connection", {
        hint: "somebody may stand in for that host; look at it before you trust it",
      });
    const [certified, signature, keyPublic] = [shown.certified, shown.signature, shown.keyPublic].map(
      (text) => Buffer.from(text, "base64"),
    ) as [Buffer, Buffer, Buffer];
    checkHostKey({ certified, signature, keyPublic }, { akPublic, qualifyingData, tlsCertificate });
  }

  /** Asks for a proof. Throws MigrateError "attestation" for one that is none, and what ends the link. */
  async prove({ selection, policyDigest, akPublic, events, imaFrom, withinMs }: Question): Promise<Proof> {
    const nonce = randomBytes(32).toString("hex");
    const inAll = withinMs === undefined ? undefined : setTimeout(() => this.#late(withinMs), withinMs);
    try {
      return await this.#proof(nonce, { selection, policyDigest, akPublic, events, imaFrom });
    } finally {
      clearTimeout(inAll);
    }
  }

  async #proof(
    nonce: string,
    { selection, policyDigest, akPublic, events, imaFrom }: Question,
  ): Promise<Proof> {
    const shown = await this.#ask(
      "challenge",
      {
        nonce,
        policy: policyDigest,
        bank: selection.bank,
        registers: [...selection.registers],
        events,
        ...(imaFrom === undefined ? {} : { imaFrom }),
      },
      "evidence",
    );
    const quote = {
      quoted: Buffer.from(shown.quoted, "base64"),
      signature: Buffer.from(shown.signature, "base64"),
      values: shown.values,
    };
    const qualifyingData = quoteBinding(this.#binding, nonce, policyDigest);
    const state = checkQuote(quote, akPublic, selection, qualifyingData);
    // Only of a host that has shown its state is anything long taken.
    const eventLog = events ? await this.#fetch("events", 0, shown.events) : null;
    const imaLog = imaFrom === undefined ? null : await this.#fetch("ima", imaFrom, shown.ima);
    const { quoted, signature } = quote;
    return { nonce, quoted, signature, state: { ...state, eventLog, imaLog } };
  }

  /** A log from a byte on; null if there is none. */
  async #fetch(log: LogName, from: number, bytes: number | undefined): Promise<Buffer | null> {
    if (bytes === undefined || bytes < from) return null;
    const pieces: Buffer[] = [];
    for (let at = from; at < bytes; ) {
      const said = await this.#ask("fetch", { log, from: at }, "log");
      const piece = Buffer.from(said.bytes, "base64");
      if (piece.length !== Math.min(limits.logPieceBytes, bytes - at))
        throw new MigrateError("protocol", "a piece of a log is not as long as was said");
      pieces.push(piece);
      at += piece.length;
    }
    return Buffer.concat(pieces);
  }

  async #ask<N extends MessageName, A extends MessageName>(
    name: N,
    body: MessageBody<N>,
    answer: A,
  ): Promise<MessageBody<A>> {
    const late = setTimeout(() => this.#late(answerMs), answerMs);
    try {
      this.#link.send(name, body);
      const message = (await this.#link.expect(answer)) as Extract<Message, { name: A }>;
      return message.body as MessageBody<A>;
    } finally {
      clearTimeout(late);
    }
  }

  #late(ms: number): void {
    this.#link.fail(
      new MigrateError("attestation", `no proof came within ${ms / 1000} s`, {
        hint: "the other host's TPM may be busy, or gone: migrate doctor there tells",
      }),
    );
  }
}

function uncertified(): MigrateError {
  return new MigrateError("attestation", "the TPM that was shown has no certificate of any maker", {
    hint: "some makers leave it out: without any makers' certificates given, its keys are taken by their word",
  });
}
