/**
 * One side of a profile as a process of its own, so that it has its own CPU account: this very program
 * with the hidden command `profile-side`, which gets questions as lines of JSON on its standard input.
 */
import { childEnvironment } from "../../platform/confine/child-environment.ts";
import { isErrorCode, MigrateError, type Side } from "../../protocol/errors.ts";
import { readLines } from "./lines.ts";
import type { Answer, Question } from "./side-role.ts";

/** How much of its standard error is kept, in characters, to tell why it died. */
const mostTroubleChars = 2000;

export class SideProcess {
  readonly #side: Side;
  readonly #process: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #answers: AsyncGenerator<string>;
  readonly #trouble: Promise<string>;
  #ended = false;

  /** Starts it. `self` is how this program is started: the binary, or bun and main.ts. */
  constructor(self: readonly string[], side: Side) {
    this.#side = side;
    this.#process = Bun.spawn([...self, "profile-side"], {
      env: childEnvironment(),
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#answers = readLines(this.#process.stdout);
    this.#trouble = new Response(this.#process.stderr).text();
  }

  /**
   * Asks and waits for the answer; one question at a time. Throws the MigrateError that the process
   * answers with, or "network" if it is gone.
   */
  async ask<Name extends Question["ask"]>(
    question: Extract<Question, { ask: Name }>,
  ): Promise<Extract<Answer, { answer: Name }>> {
    if (this.#ended) throw this.#gone("");
    this.#process.stdin.write(`${JSON.stringify(question)}\n`);
    await this.#process.stdin.flush();
    const { value: line, done } = await this.#answers.next();
    if (done) throw this.#gone((await this.#trouble).slice(-mostTroubleChars).trim());
    const answer = JSON.parse(line) as Answer;
    if (answer.answer === "error") {
      const { code, message, hint, side } = answer;
      throw new MigrateError(isErrorCode(code) ? code : "bug", message, { side: side ?? this.#side, hint });
    }
    return answer as Extract<Answer, { answer: Name }>;
  }

  /** Ends it, whatever it does. */
  async kill(): Promise<void> {
    this.#ended = true;
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }

  #gone(trouble: string): MigrateError {
    const detail = trouble === "" ? "" : `: ${trouble}`;
    return new MigrateError("network", `the ${this.#side}'s measuring process went away${detail}`, {
      side: this.#side,
    });
  }
}
