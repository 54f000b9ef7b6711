/**
 * The host that proves what it runs, on one connection: answers what a verifier asks (SPEC.md, Attestation). Its TPM is
 * opened for an answer that needs it, and closed again: others want it, too.
 */

import { X509Certificate } from "node:crypto";
import type { LogName } from "../protocol/attesting.ts";
import { MigrateError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { Message, MessageBody } from "../protocol/messages.ts";
import { activationProof, type Binding, enrolBinding, quoteBinding } from "./evidence/binding.ts";
import { readEventLog, readImaLog } from "./logs/host-logs.ts";
import { type HostTpm, openHostTpm } from "./tpm/host-tpm.ts";

type Env = Record<string, string | undefined>;

export interface ProverOptions {
  home: string;
  env: Env;
  binding: Binding;
  /** This host's certificate, as the other one has seen it. */
  certificatePem: string;
}

/** What a verifier may say. */
export type Asked = Extract<Message, { name: "enrol" | "activate" | "challenge" | "fetch" }>;

const askedNames: ReadonlySet<string> = new Set<Asked["name"]>(["enrol", "activate", "challenge", "fetch"]);

/** Whether that is for a prover. */
export const isAsked = (message: Message): message is Asked => askedNames.has(message.name);

/** What is sent in answer. */
export type ProverAnswer = {
  [N in "enrolled" | "activated" | "evidence" | "log"]: { name: N; body: MessageBody<N> };
}["enrolled" | "activated" | "evidence" | "log"];

/** How often a peer may make the TPM work on one connection [ATT-9]: a move needs three. */
const mostWork = 32;

export class Prover {
  readonly #options: ProverOptions;
  #workLeft = mostWork;
  #enrolment: Buffer | undefined;
  #logs: Partial<Record<LogName, Buffer>> = {};
  /** Pieces of these logs that may be fetched: each of them once, and a few again. */
  #piecesLeft = 0;

  constructor(options: ProverOptions) {
    this.#options = options;
  }

  /**
   * The answer to what the verifier asks. Throws MigrateError "tpm-unusable" if this host's TPM does not do it, and
   * "protocol" for what is asked out of its order, or too often.
   */
  async answer(asked: Asked): Promise<ProverAnswer> {
    switch (asked.name) {
      case "enrol":
        return { name: "enrolled", body: await this.#enrol(asked.body.nonce) };
      case "activate":
        return { name: "activated", body: await this.#activate(asked.body) };
      case "challenge":
        return { name: "evidence", body: await this.#prove(asked.body) };
      case "fetch":
        return { name: "log", body: this.#piece(asked.body) };
    }
  }

  async #enrol(nonce: string): Promise<MessageBody<"enrolled">> {
    const enrolment = enrolBinding(this.#options.binding, nonce);
    this.#enrolment = enrolment;
    return await this.#withTpm(async (tpm) => {
      const keys = await tpm.keys();
      const hostKey = await tpm.certifyHostKey(enrolment);
      const { certificatePem } = this.#options;
      return {
        ekPublic: keys.ekPublic.toString("base64"),
        akPublic: keys.akPublic.toString("base64"),
        ...(keys.ekCertificate === null ? {} : { ekCertificate: keys.ekCertificate.toString("base64") }),
        ...(hostKey === null
          ? {}
          : {
              hostKey: {
                certified: hostKey.certified.toString("base64"),
                signature: hostKey.signature.toString("base64"),
                keyPublic: hostKey.keyPublic.toString("base64"),
                certificate: new X509Certificate(certificatePem).raw.toString("base64"),
              },
            }),
      };
    });
  }

  async #activate({
    credentialBlob,
    encryptedSecret,
  }: MessageBody<"activate">): Promise<MessageBody<"activated">> {
    const enrolment = this.#enrolment;
    if (enrolment === undefined) throw new MigrateError("protocol", "a credential came unasked");
    this.#enrolment = undefined;
    const secret = await this.#withTpm((tpm) =>
      tpm.activate(Buffer.from(credentialBlob, "base64"), Buffer.from(encryptedSecret, "base64")),
    );
    return { proof: activationProof(secret, enrolment) };
  }

  async #prove(asked: MessageBody<"challenge">): Promise<MessageBody<"evidence">> {
    const { bank, registers, nonce, policy, events, imaFrom } = asked;
    const qualifyingData = quoteBinding(this.#options.binding, nonce, policy);
    const { quoted, signature, values } = await this.#withTpm(async (tpm) => {
      const quote = await tpm.quote({ bank, registers }, qualifyingData);
      return { ...quote, values: registers.map((register) => quote.registers.get(register)!) };
    });
    // Read after the quote: what has been measured since then is behind what it is over.
    const { env } = this.#options;
    const [eventLog, imaLog] = [
      events ? readEventLog(env) : null,
      imaFrom === undefined ? null : readImaLog(env),
    ];
    this.#logs = {
      ...(eventLog === null ? {} : { events: eventLog }),
      ...(imaLog === null ? {} : { ima: imaLog }),
    };
    const logs = Object.values(this.#logs);
    this.#piecesLeft = logs.reduce((sum, { length }) => sum + Math.ceil(length / limits.logPieceBytes), 4);
    return {
      quoted: quoted.toString("base64"),
      signature: signature.toString("base64"),
      values,
      ...(this.#logs.events === undefined ? {} : { events: this.#logs.events.length }),
      ...(this.#logs.ima === undefined ? {} : { ima: this.#logs.ima.length }),
    };
  }

  /** A piece of a log as it was when the last quote was made. */
  #piece({ log, from }: MessageBody<"fetch">): MessageBody<"log"> {
    const bytes = this.#logs[log];
    if (bytes === undefined || from > bytes.length)
      throw new MigrateError("protocol", "there is no such log");
    if (this.#piecesLeft-- <= 0) throw new MigrateError("protocol", "a log was fetched too often");
    return { bytes: bytes.subarray(from, from + limits.logPieceBytes).toString("base64") };
  }

  async #withTpm<T>(work: (tpm: HostTpm) => Promise<T>): Promise<T> {
    if (this.#workLeft-- <= 0) throw new MigrateError("protocol", "too many proofs were asked for");
    const { home, env } = this.#options;
    const tpm = await openHostTpm({ home, env });
    try {
      return await work(tpm);
    } finally {
      await tpm.close();
    }
  }
}
