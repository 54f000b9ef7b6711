/** Calls the `migrate send` that runs for a session of this host: to look at its move, or to change it. */
import * as v from "valibot";
import { exchangeLine } from "../../platform/line-socket.ts";
import { isErrorCode, MigrateError } from "../../protocol/errors.ts";
import {
  type ControlRequest,
  controlAnswerSchema,
  controlLineBytes,
  controlPath,
  type MoveLook,
} from "../source/control-messages.ts";

/** How long an answer may take, in milliseconds: a QEMU may be slow, and libvirt slower. */
const tuneTimeoutMs = 60_000;
const lookTimeoutMs = 2_000;

/**
 * Says one thing to the process that sends the session, and returns how the move is then. Throws MigrateError
 * "unknown-session" if no process sends it here, what that process refuses, and "network" if it does not answer.
 */
export async function callMove(home: string, session: string, request: ControlRequest): Promise<MoveLook> {
  const timeoutMs = request.say === "look" ? lookTimeoutMs : tuneTimeoutMs;
  const limits = { mostBytes: 2 * controlLineBytes, timeoutMs };
  const exchange = await exchangeLine(controlPath(home, session), JSON.stringify(request), limits);
  if (exchange.kind === "answered") return lookIn(exchange.line);
  if (exchange.kind === "nobody" || exchange.kind === "unreachable") {
    throw new MigrateError("unknown-session", "no process of this host and home sends this VM just now", {
      side: "source",
      hint: "See migrate status. What waits for its source is sent on by the same migrate send.",
    });
  }
  throw silent();
}

function silent(): MigrateError {
  return new MigrateError("network", "the migrate that sends this VM does not answer", {
    side: "source",
    hint: "Look at it in the terminal in which it runs, or in the log of what started it.",
  });
}

function lookIn(line: string): MoveLook {
  const parsed = v.safeParse(controlAnswerSchema, parseJson(line));
  if (!parsed.success) throw silent();
  const said = parsed.output;
  if ("look" in said) return said.look;
  const { code, message, hint } = said.error;
  throw new MigrateError(isErrorCode(code) ? code : "bug", message, { side: "source", hint });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
