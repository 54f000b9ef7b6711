/**
 * A QEMU that is started to be asked something and ends: it has a machine and a processor, no disk, no network and no
 * socket, and never runs. What it is asked goes by its standard input and output.
 */
import type { Subprocess } from "bun";
import { programEnvironment } from "../../confinement/environment.ts";
import { excerptForPeer } from "../daemon.ts";
import { QmpError } from "../qmp/qmp-error.ts";
import { LineCutter, parseQmpLine, type QmpVersion } from "../qmp/qmp-line.ts";

/** How long it may take from its start to its last answer, in milliseconds. */
const trialMs = 20_000;
/** How long its last words are waited for once it is gone, in milliseconds. */
const lastWordsMs = 500;
/** Longest answer, and all of them together, in bytes. */
const lineBytes = 2 ** 20;
const mostBytes = 8 * 2 ** 20;
/** What is kept of its standard error, in bytes. */
const errorBytes = 16 * 2 ** 10;

type Child = Subprocess<"pipe", "pipe", "pipe">;

export class TrialQemu implements AsyncDisposable {
  readonly #child: Child;
  readonly #waiting: { command: string; answer: PromiseWithResolvers<unknown> }[] = [];
  readonly #greeting = Promise.withResolvers<QmpVersion>();
  readonly #reading: Promise<void>;
  readonly #erring: Promise<void>;
  #errors = "";
  #over: QmpError | undefined;
  #lastId = 0;

  private constructor(argv: readonly string[]) {
    this.#child = Bun.spawn([...argv], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      cwd: "/",
      env: programEnvironment,
      timeout: trialMs,
      killSignal: "SIGKILL",
    });
    this.#greeting.promise.catch(() => {});
    this.#reading = this.#read();
    this.#erring = this.#readErrors();
  }

  /**
   * Starts it from its full argument list, which must have QMP on its standard streams (`-qmp stdio`). If it ends
   * before it answers, returns the last it wrote, fit to be sent to a peer.
   */
  static async start(argv: readonly string[]): Promise<TrialQemu | { lastErrors: string }> {
    let qemu: TrialQemu;
    try {
      qemu = new TrialQemu(argv);
    } catch (cause) {
      return { lastErrors: `it does not start (${String((cause as { code?: unknown }).code ?? "unknown")})` };
    }
    try {
      await qemu.#greeting.promise;
      await qemu.ask("qmp_capabilities");
      // It greets before its machine is there; this is answered by its main loop.
      await qemu.ask("query-status");
      return qemu;
    } catch {
      await qemu[Symbol.asyncDispose]();
      return { lastErrors: excerptForPeer(qemu.#errors) };
    }
  }

  /** Its version, as it greeted with. */
  get version(): Promise<QmpVersion> {
    return this.#greeting.promise;
  }

  /** Returns its answer, unread. Throws QmpError. */
  readonly ask = (command: string, args?: object): Promise<unknown> => {
    if (this.#over !== undefined) return Promise.reject(this.#over.during(command));
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.push({ command, answer });
    // If it ends while it is being asked, the end of what it says is what is told.
    answer.promise.catch(() => {});
    const line = { execute: command, ...(args === undefined ? {} : { arguments: args }), id: ++this.#lastId };
    try {
      this.#child.stdin.write(`${JSON.stringify(line)}\n`);
      void Promise.resolve(this.#child.stdin.flush()).catch(() => {});
    } catch {
      // Nobody reads it any more (EPIPE).
    }
    return answer.promise;
  };

  /** Ends it. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    // What it wrote last is read; somebody else may hold its streams open.
    await Promise.race([Promise.all([this.#reading, this.#erring]), Bun.sleep(lastWordsMs)]);
  }

  async #read(): Promise<void> {
    const lines = new LineCutter(lineBytes);
    let bytes = 0;
    try {
      for await (const piece of this.#child.stdout) {
        bytes += piece.length;
        if (bytes > mostBytes) throw new RangeError("it says too much");
        for (const line of lines.take(piece)) this.#take(line);
      }
      this.#end(new QmpError("interrupted", "QEMU ended"));
    } catch (cause) {
      this.#end(new QmpError("malformed", "what came from QEMU is not its machine protocol", { cause }));
      this.#child.kill("SIGKILL");
    }
  }

  #take(line: Uint8Array): void {
    const message = parseQmpLine(line);
    if (message.kind === "greeting") this.#greeting.resolve(message.version);
    if (message.kind === "greeting" || message.kind === "event") return;
    // Commands are answered in the order in which they are given.
    const waiting = this.#waiting.shift();
    if (waiting === undefined) throw new Error("an answer that nobody asked for");
    if (message.kind === "answer") waiting.answer.resolve(message.value);
    else waiting.answer.reject(QmpError.refused(waiting.command, message.errorClass, message.description));
  }

  async #readErrors(): Promise<void> {
    const text = new TextDecoder();
    try {
      for await (const piece of this.#child.stderr)
        this.#errors = `${this.#errors}${text.decode(piece, { stream: true })}`.slice(-errorBytes);
    } catch {
      // It has ended, and said what it had to say.
    }
  }

  #end(reason: QmpError): void {
    this.#over ??= reason;
    this.#greeting.reject(this.#over);
    for (const { command, answer } of this.#waiting.splice(0)) answer.reject(this.#over.during(command));
  }
}
