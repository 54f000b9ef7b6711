/**
 * A guest's own agent, by the socket of its channel: its clock is set after it stood still (QEMU
 * docs/interop/qemu-ga-ref, guest-sync-delimited and guest-set-time). Whatever answers is the guest's, and is believed
 * nothing but that it answered.
 */
import { randomInt } from "node:crypto";
import { lstatSync } from "node:fs";
import * as v from "valibot";
import { printable } from "../../../protocol/printable.ts";
import type { Qmp } from "../qmp/qmp.ts";

/** A channel of the VM behind which its agent may be. */
export interface AgentChannel {
  /** Id of the character device. */
  id: string;
  /** Absolute path of its socket. */
  path: string;
}

/** What is known of an agent before anybody speaks to it. */
export type Agent = { kind: "listens"; path: string } | { kind: "taken" };

/** How long an agent may take for all of it, in milliseconds; an agent that is there answers within some. */
const agentTimeoutMs = 5_000;
/** More than it has to say; what a guest floods with is not kept. */
const mostBytes = 64 * 1024;
const mostLineBytes = 4096;
/** Comes before what resets the agent's reading, and before its answer to that. */
const delimiter = 0xff;
const mostShownChars = 120;

const chardevs = v.array(
  v.object({ label: v.string(), filename: v.string(), "frontend-open": v.optional(v.boolean(), false) }),
);

/**
 * Which of these channels an agent has open in the guest; null if none has. Somebody may speak to it already: QEMU takes
 * one caller at a time. Throws QmpError.
 */
export async function findAgent(qmp: Qmp, channels: readonly AgentChannel[]): Promise<Agent | null> {
  if (channels.length === 0) return null;
  const all = await qmp.ask(chardevs, "query-chardev");
  for (const { id, path } of channels) {
    const found = all.find(({ label }) => label === id);
    if (found?.["frontend-open"] !== true) continue;
    if (!found.filename.startsWith("disconnected:")) return { kind: "taken" };
    return { kind: "listens", path };
  }
  return null;
}

/**
 * Sets the guest's clock to this host's. Returns null once the agent said that it did, and otherwise why it did not, as
 * the end of a sentence. Never throws; takes no longer than `timeoutMs`.
 */
export async function setGuestTime(path: string, timeoutMs = agentTimeoutMs): Promise<string | null> {
  // What lies there was made by the VM's own QEMU: nothing else is followed.
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return "its channel is not there";
  const conversation = new Conversation();
  const late = setTimeout(() => conversation.end("it does not answer"), timeoutMs);
  try {
    await conversation.open(path);
    const id = randomInt(1, 2 ** 31);
    conversation.say({ execute: "guest-sync-delimited", arguments: { id } }, true);
    // What an earlier caller did not wait for may come first.
    while ((await conversation.answer(true)).return !== id);
    conversation.say({ execute: "guest-set-time", arguments: { time: `${Date.now()}000000` } });
    const { error } = await conversation.answer(false);
    return error === undefined ? null : `it refused: ${printable(error.slice(0, mostShownChars), " ")}`;
  } catch (thrown) {
    return thrown instanceof AgentFailure ? thrown.message : "its channel cannot be reached";
  } finally {
    clearTimeout(late);
    conversation.end("it is over");
  }
}

class AgentFailure extends Error {}

const answerSchema = v.union([
  v.object({ return: v.unknown() }),
  v.object({ error: v.object({ desc: v.string() }) }),
]);

class Conversation {
  #socket: { write(bytes: Uint8Array): number; end(): void } | undefined;
  #ended: AgentFailure | undefined;
  #wake: (() => void) | undefined;
  /** What has come and is not read, at most one line of it. */
  #bytes = Buffer.alloc(0);
  #heardBytes = 0;

  async open(path: string): Promise<void> {
    const socket = await Bun.connect({
      unix: path,
      socket: {
        data: (_, bytes) => this.#hear(bytes),
        close: () => this.end("it hung up"),
        error: () => this.end("it hung up"),
      },
    });
    // It may be late already.
    if (this.#ended === undefined) this.#socket = socket;
    else socket.end();
  }

  /** An integer that JSON's numbers cannot hold goes as its digits. */
  say(command: { execute: string; arguments: Record<string, unknown> }, resets = false): void {
    const text = JSON.stringify(command).replace(/"time":"(\d+)"/, '"time":$1');
    this.#socket?.write(Buffer.concat([Buffer.from(resets ? [delimiter] : []), Buffer.from(`${text}\n`)]));
  }

  /** The next line, after a delimiter if it is the answer to a reset. Throws AgentFailure. */
  async answer(delimited: boolean): Promise<{ return?: unknown; error?: string }> {
    for (;;) {
      if (this.#ended !== undefined) throw this.#ended;
      const line = this.#line(delimited);
      if (line !== null) return parsed(line, delimited);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  end(why: string): void {
    this.#ended ??= new AgentFailure(why);
    this.#socket?.end();
    this.#socket = undefined;
    this.#wake?.();
  }

  #hear(bytes: Uint8Array): void {
    this.#heardBytes += bytes.byteLength;
    if (this.#heardBytes > mostBytes) this.end("it says more than an agent has to say");
    else this.#bytes = Buffer.concat([this.#bytes, bytes]);
    this.#wake?.();
  }

  #line(delimited: boolean): Buffer | null {
    if (delimited) {
      const at = this.#bytes.indexOf(delimiter);
      this.#bytes = at < 0 ? Buffer.alloc(0) : this.#bytes.subarray(at);
      if (at < 0) return null;
    }
    const end = this.#bytes.indexOf("\n");
    if (end > mostLineBytes || (end < 0 && this.#bytes.length > mostLineBytes))
      throw new AgentFailure("what it says is no answer");
    if (end < 0) return null;
    const line = this.#bytes.subarray(0, end);
    this.#bytes = this.#bytes.subarray(end + 1);
    return line;
  }
}

/** Of what is no answer to a reset nothing is made: the answer may follow. Throws AgentFailure. */
function parsed(line: Buffer, delimited: boolean): { return?: unknown; error?: string } {
  const text = line.subarray(line.lastIndexOf(delimiter) + 1).toString("utf8");
  try {
    const answer = v.parse(answerSchema, JSON.parse(text));
    return "error" in answer ? { error: answer.error.desc } : { return: answer.return };
  } catch {
    if (delimited) return {};
    throw new AgentFailure("what it says is no answer");
  }
}
