/** The control socket of a `migrate send` that runs: what `migrate tune` and `migrate status` say to it is answered here. */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import type { Socket } from "bun";
import * as v from "valibot";
import { socketPathBytes } from "../../platform/unix-socket.ts";
import { MigrateError, toPlainError } from "../../protocol/errors.ts";
import type { Tuning } from "../report/tuning.ts";
import {
  type ControlAnswer,
  type ControlRequest,
  controlLineBytes,
  controlPath,
  controlRequestSchema,
  type MoveLook,
} from "./control-messages.ts";

/** Callers at a time; one more is turned away. */
const mostCallers = 8;
/** How long a caller may take to say what it wants, in seconds. */
const patienceSeconds = 10;

export interface Controlled {
  /** Throws MigrateError. */
  tune(tuning: Tuning): Promise<void>;
  look(): MoveLook;
}

interface Caller {
  said: Buffer;
  isHeard: boolean;
}

/**
 * Listens for the session, whose lock this process holds, until the function that is returned is called. Throws
 * MigrateError "home-unusable" if that is not possible: the move can then not be changed on its way.
 */
export function openControl(home: string, session: string, move: Controlled): () => void {
  const path = controlPath(home, session);
  if (Buffer.byteLength(path) > socketPathBytes) {
    throw new MigrateError("home-unusable", "MIGRATE_HOME is too deep for a socket in it", {
      side: "source",
      hint: `A socket's path has at most ${socketPathBytes} bytes, and ${path} is longer.`,
    });
  }
  let callers = 0;
  try {
    // A process that was killed left it; the lock tells that it is nobody's now.
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
    const listener = Bun.listen<Caller>({
      unix: path,
      socket: {
        open(socket) {
          socket.data = { said: Buffer.alloc(0), isHeard: false };
          if (++callers > mostCallers) socket.terminate();
          else socket.timeout(patienceSeconds);
        },
        data: (socket, piece) => hear(socket, piece, move),
        timeout: (socket) => socket.terminate(),
        close() {
          callers--;
        },
        error() {},
      },
    });
    // The folder is closed to others already.
    chmodSync(path, 0o600);
    return () => listener.stop(true);
  } catch (cause) {
    throw new MigrateError("home-unusable", "there can be no socket in MIGRATE_HOME", {
      side: "source",
      hint: `Look at ${path}: ${(cause as Error).message}`,
      cause,
    });
  }
}

function hear(socket: Socket<Caller>, piece: Buffer, move: Controlled): void {
  const { data: caller } = socket;
  if (caller.isHeard) return;
  if (caller.said.length + piece.length > controlLineBytes) {
    socket.terminate();
    return;
  }
  caller.said = Buffer.concat([caller.said, piece]);
  const end = caller.said.indexOf("\n");
  if (end < 0) return;
  caller.isHeard = true;
  // What was understood may take QEMU a while.
  socket.timeout(0);
  void answer(caller.said.subarray(0, end).toString(), move).then((said) => {
    // An answer is far shorter than what a socket takes at once.
    socket.write(`${JSON.stringify(said)}\n`);
    socket.end();
  });
}

async function answer(line: string, move: Controlled): Promise<ControlAnswer> {
  try {
    const request = requestIn(line);
    if (request.say === "tune") await move.tune(request.tuning);
    return { look: move.look() };
  } catch (thrown) {
    const { code, message, hint } = toPlainError(thrown);
    return { error: { code, message, ...(hint === undefined ? {} : { hint }) } };
  }
}

function requestIn(line: string): ControlRequest {
  try {
    return v.parse(controlRequestSchema, JSON.parse(line));
  } catch (cause) {
    throw new MigrateError("version", "the migrate that sends this VM does not understand the request", {
      side: "source",
      hint: "Use the version of migrate here that the move was begun with.",
      cause,
    });
  }
}
