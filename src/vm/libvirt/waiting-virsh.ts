/**
 * A virsh that is there already, connected, and waits for its one command: to start one and to have it connect takes
 * some 14 ms, for which a VM that is handed over would stand still.
 */
import type { Virsh } from "./virsh.ts";

/** How long the answer may take, in milliseconds; what is asked afterwards finds out what became of it. */
const answerMs = 5000;
/** virsh(1) echoes this once the command before is done. */
const doneWord = "migrate-done";
/** It repeats what it is told behind its prompt, and has none before what it says. */
const isDone = new RegExp(`^${doneWord}`, "m");
/** More than virsh says of one command. */
const mostBytes = 4096;

export class WaitingVirsh {
  readonly #child: ReturnType<Virsh["start"]>;

  /** Starts it; it ends with this process, or by `close`. Throws MigrateError "policy" if there is no virsh. */
  constructor(virsh: Virsh) {
    // Without a command virsh reads commands, a line each, from its standard input (virsh(1), OPTIONS).
    this.#child = virsh.start([], { endsWithParent: true, stdin: "pipe" });
  }

  /**
   * Gives the one command, of words without blanks or quotes. Returns true if it certainly did what it was told; false
   * says nothing. Never throws. To be called once.
   */
  async run(words: readonly string[]): Promise<boolean> {
    const { stdin, stdout, stderr } = this.#child;
    const timer = setTimeout(() => this.close(), answerMs);
    try {
      if (typeof stdin !== "object" || words.some((word) => !/^[\w.-]+$/.test(word))) return false;
      stdin.write(`${words.join(" ")}\necho ${doneWord}\n`);
      await stdin.end();
      // It exits with 0 whatever came of the commands: what it complains of tells.
      const [out, errors] = await Promise.all([head(stdout), head(stderr)]);
      return errors.trim() === "" && isDone.test(out);
    } catch {
      return false;
    } finally {
      clearTimeout(timer);
      this.close();
    }
  }

  /** Idempotent. */
  close(): void {
    this.#child.kill("SIGKILL");
  }
}

async function head(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const piece of stream) {
    if (text.length < mostBytes) text += Buffer.from(piece).toString("latin1");
  }
  return text;
}
