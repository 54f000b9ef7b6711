/** A console on a serial line of a VM that runs: what was said so far, then what is said and typed. */
import type { Socket } from "bun";
import { MigrateError } from "../../../protocol/errors.ts";
import type { RunFolder } from "../run-folder.ts";
import { type Greeting, greetingBytes, parseGreeting } from "./console-words.ts";
import type { SerialNames } from "./names.ts";

/** How long the keeper may take for its greeting, in milliseconds. */
const greetMs = 10_000;

export interface ConsoleLine {
  /** Null for a line without a keeper, as of a VM that an earlier version started: nothing is known of before. */
  greeting: Greeting | null;
  history: Uint8Array;
  /** Sends what was typed. */
  type(bytes: Uint8Array): void;
  /** To be called once: what the guest says from the history on. */
  listen(said: (bytes: Uint8Array) => void): void;
  /** Resolves when the line is closed, by whomever. */
  ended: Promise<void>;
  close(): void;
}

/**
 * Calls a line. Throws MigrateError "qemu-failed" if nobody answers there, and "protocol" if what answers is no keeper.
 */
export async function callLine(run: RunFolder, names: SerialNames): Promise<ConsoleLine> {
  const kept = await connect(run.socket(names.console));
  if (kept !== null) return await greeted(kept);
  // A keeper that was killed leaves the line to whoever calls it.
  const bare = (await connect(run.socket(names.qemu))) ?? (await connect(run.socket(names.program)));
  if (bare !== null) return { ...bare, greeting: null, history: new Uint8Array() };
  throw new MigrateError("qemu-failed", "nobody answers on the VM's serial line", {
    hint: `its sockets are in ${run.path}`,
  });
}

type BareLine = Pick<ConsoleLine, "type" | "listen" | "ended" | "close">;

async function greeted(line: BareLine): Promise<ConsoleLine> {
  let heard = Buffer.alloc(0);
  let said: ((bytes: Uint8Array) => void) | undefined;
  const ready = Promise.withResolvers<{ greeting: Greeting; history: Buffer }>();
  let isReady = false;
  const refuse = (why: string, cause?: unknown) =>
    ready.reject(new MigrateError("protocol", `what answers on the VM's serial line ${why}`, { cause }));
  line.listen((bytes) => {
    if (isReady && said !== undefined) return said(bytes);
    heard = Buffer.concat([heard, bytes]);
    if (isReady) return;
    const end = heard.subarray(0, greetingBytes).indexOf("\n");
    if (end < 0 && heard.length < greetingBytes) return;
    let greeting: Greeting;
    try {
      greeting = parseGreeting(heard.toString("utf8", 0, end));
    } catch (cause) {
      return refuse("is not its keeper", cause);
    }
    const whole = end + 1 + greeting.history;
    if (heard.length < whole) return;
    isReady = true;
    const history = heard.subarray(end + 1, whole);
    heard = heard.subarray(whole);
    ready.resolve({ greeting, history });
  });
  const timer = setTimeout(() => refuse("does not say what was said before"), greetMs);
  void line.ended.then(() => refuse("hung up"));
  const { greeting, history } = await ready.promise
    .catch((thrown: unknown) => {
      line.close();
      throw thrown;
    })
    .finally(() => clearTimeout(timer));
  return {
    ...line,
    greeting,
    history,
    listen: (listener) => {
      said = listener;
      if (heard.length > 0) listener(heard);
      heard = Buffer.alloc(0);
    },
  };
}

/** Null if nobody listens there. */
async function connect(path: string): Promise<BareLine | null> {
  const ended = Promise.withResolvers<void>();
  let waiting: Uint8Array[] = [];
  let said: ((bytes: Uint8Array) => void) | undefined;
  let typed: Uint8Array = new Uint8Array();
  const flush = (socket: Socket<unknown>) => {
    const taken = Math.max(0, socket.write(typed));
    typed = typed.subarray(taken);
  };
  let socket: Socket<unknown>;
  try {
    socket = await Bun.connect<unknown>({
      unix: path,
      socket: {
        data: (_, bytes) => (said === undefined ? void waiting.push(new Uint8Array(bytes)) : said(bytes)),
        drain: flush,
        error: () => {},
        close: () => ended.resolve(),
      },
    });
  } catch {
    return null;
  }
  return {
    ended: ended.promise,
    type: (bytes) => {
      typed = Buffer.concat([typed, bytes]);
      flush(socket);
    },
    listen: (listener) => {
      said = listener;
      for (const bytes of waiting) listener(bytes);
      waiting = [];
    },
    close: () => socket.end(),
  };
}
