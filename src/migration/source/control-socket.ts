/** The control socket of a `migrate send` that runs: what `migrate tune` and `migrate status` say to it is answered here. */
import * as v from "valibot";
import { LineListener } from "../../platform/line-socket.ts";
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

const limits = { mostCallers: 8, mostBytes: controlLineBytes, patienceMs: 10_000 } as const;

export interface Controlled {
  /** Throws MigrateError. */
  tune(tuning: Tuning): Promise<void>;
  look(): MoveLook;
}

/**
 * Listens for the session, whose lock this process holds, until the function that is returned is called: what a process
 * that was killed left there is replaced. Throws MigrateError "home-unusable" if that is not possible: the move can then
 * not be changed on its way.
 */
export function openControl(home: string, session: string, move: Controlled): () => void {
  const path = controlPath(home, session);
  try {
    const listener = new LineListener(path, limits, async (line) => JSON.stringify(await answer(line, move)));
    return () => listener.close();
  } catch (cause) {
    throw new MigrateError("home-unusable", "there can be no socket in MIGRATE_HOME", {
      side: "source",
      hint: `Look at ${path}: ${(cause as Error).message}`,
      cause,
    });
  }
}

/** Null stands for a line that is too long. */
async function answer(line: string | null, move: Controlled): Promise<ControlAnswer> {
  try {
    const request = requestIn(line);
    if (request.say === "tune") await move.tune(request.tuning);
    return { look: move.look() };
  } catch (thrown) {
    const { code, message, hint } = toPlainError(thrown);
    return { error: { code, message, ...(hint === undefined ? {} : { hint }) } };
  }
}

function requestIn(line: string | null): ControlRequest {
  try {
    return v.parse(controlRequestSchema, JSON.parse(line ?? ""));
  } catch (cause) {
    throw new MigrateError("version", "the migrate that sends this VM does not understand the request", {
      side: "source",
      hint: "Use the version of migrate here that the move was begun with.",
      cause,
    });
  }
}
