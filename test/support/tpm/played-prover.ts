/** The other end of a verifier's connection, played: it answers with quotes of a SigningTpm, and as wrongly as it is told. */
import { type Binding, quoteBinding } from "../../../src/attestation/evidence/binding.ts";
import type { PlatformState } from "../../../src/attestation/structures/platform-state.ts";
import type { VerifierLink } from "../../../src/attestation/verifier.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { limits } from "../../../src/protocol/limits.ts";
import type { Message, MessageBody, MessageName } from "../../../src/protocol/messages.ts";
import { SigningTpm } from "./signing-tpm.ts";

type Answer = { [N in MessageName]: { name: N; body: MessageBody<N> } }[MessageName];

export class PlayedProver implements VerifierLink {
  readonly tpm = new SigningTpm();
  /** All that was asked, in order. */
  readonly asked: Message[] = [];
  failed: unknown;
  state: PlatformState;
  /** Changes an answer before it is given. */
  twist: (answer: Answer, asked: Message) => Answer = (answer) => answer;
  /** What its quotes are bound to; the verifier's by default. */
  binding: Binding;
  #answer: Answer | undefined;

  constructor(binding: Binding, registers: Record<number, string>) {
    this.binding = binding;
    this.state = {
      bank: "sha256",
      registers: new Map(Object.entries(registers).map(([number, value]) => [Number(number), value])),
      clock: { clockMs: 5000, resetCount: 3, restartCount: 0, safe: true },
      firmwareVersion: "02".repeat(8),
      eventLog: null,
      imaLog: null,
    };
  }

  send<N extends MessageName>(name: N, body: MessageBody<N>): void {
    const asked = { name, body } as Message;
    this.asked.push(asked);
    this.#answer = this.twist(this.#answerTo(asked), asked);
  }

  async expect<N extends MessageName>(...names: N[]): Promise<Extract<Message, { name: N }>> {
    const answer = this.#answer!;
    if (!(names as string[]).includes(answer.name))
      throw new MigrateError("protocol", `expected ${names.join()}, got ${answer.name}`);
    return answer as Extract<Message, { name: N }>;
  }

  fail(thrown: unknown): void {
    this.failed = thrown;
  }

  #answerTo(asked: Message): Answer {
    const { state, tpm } = this;
    if (asked.name === "challenge") {
      const { bank, registers, nonce, policy, events, imaFrom } = asked.body;
      const shown = tpm.quote({
        selection: { bank, registers },
        registers: state.registers,
        clock: state.clock,
        qualifyingData: quoteBinding(this.binding, nonce, policy),
      });
      return {
        name: "evidence",
        body: {
          quoted: shown.quoted.toString("base64"),
          signature: shown.signature.toString("base64"),
          values: shown.values,
          ...(events && state.eventLog ? { events: state.eventLog.length } : {}),
          ...(imaFrom !== undefined && state.imaLog ? { ima: state.imaLog.length } : {}),
        },
      };
    }
    if (asked.name === "fetch") {
      const log = asked.body.log === "events" ? state.eventLog : state.imaLog;
      const piece = log!.subarray(asked.body.from, asked.body.from + limits.logPieceBytes);
      return { name: "log", body: { bytes: piece.toString("base64") } };
    }
    throw new Error(`a played prover does not answer ${asked.name}`);
  }
}
