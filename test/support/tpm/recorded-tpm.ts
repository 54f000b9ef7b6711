/**
 * A TPM's answers, recorded on their way and given again: so that a test can put garbage in the place of each, and see
 * what was left in the TPM.
 */
import type { TpmConnection } from "../../../src/attestation/tpm/connection.ts";

const flushContext = 0x165;
/** Commands whose answer begins with a handle: CreatePrimary, Load, StartAuthSession. */
const answeringHandle = [0x131, 0x157, 0x176];

const codeOf = (command: Buffer) => command.readUInt32BE(6);
const isWhole = (answer: Buffer) => answer.length >= 10 && answer.readUInt32BE(2) === answer.length;
const succeeded = (answer: Buffer) => answer.length >= 14 && answer.readUInt32BE(6) === 0;

/** Records what the TPM behind `connection` answers, in order. */
export function recording(connection: TpmConnection, answers: Buffer[]): TpmConnection {
  return {
    async exchange(command, timeoutMs) {
      const answer = await connection.exchange(command, timeoutMs);
      if (codeOf(command) !== flushContext) answers.push(Buffer.from(answer));
      return answer;
    },
    close: () => connection.close(),
  };
}

/** Gives recorded answers in order, up to `from`; from there on what `garbage` makes of them. */
export class ReplayedTpm implements TpmConnection {
  /** Handles that were given out and not flushed. */
  readonly held = new Set<number>();
  garbled = 0;
  /** Whether an answer was not as long as it says: nobody knows then where the next one begins, so nothing is asked any more. */
  isBroken = false;
  isClosed = false;
  readonly #answers: readonly Buffer[];
  readonly #from: number;
  readonly #garbage: (answer: Buffer) => Buffer;
  #at = 0;

  constructor(answers: readonly Buffer[], from: number, garbage: (answer: Buffer) => Buffer) {
    this.#answers = answers;
    this.#from = from;
    this.#garbage = garbage;
  }

  async exchange(command: Buffer): Promise<Buffer> {
    if (codeOf(command) === flushContext) {
      this.held.delete(command.readUInt32BE(10));
      return Buffer.from("80010000000a00000000", "hex");
    }
    const right = this.#answers[this.#at % this.#answers.length]!;
    let answer = right;
    if (this.#at >= this.#from) {
      answer = this.#garbage(right);
      this.garbled++;
    }
    this.#at++;
    if (!isWhole(answer)) this.isBroken = true;
    if (answeringHandle.includes(codeOf(command)) && succeeded(answer))
      this.held.add(answer.readUInt32BE(10));
    return answer;
  }

  close(): void {
    this.isClosed = true;
  }
}
