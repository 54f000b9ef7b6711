/**
 * The control socket of a `migrate serve`: MIGRATE_HOME/serve/….sock, for programs of the same user (mode 0600, in a
 * folder of mode 0700). Whoever may connect may read the home's key, so it gives nothing that such a one has not.
 */
import { mkdirSync } from "node:fs";
import * as v from "valibot";
import { LineListener } from "../../../platform/line-socket.ts";
import { SocketClaims } from "../../../platform/unix-place.ts";
import { asMigrateError, MigrateError } from "../../../protocol/errors.ts";
import {
  type Answer,
  controlFolder,
  controlSocket,
  patienceMs,
  type Question,
  questionMaxBytes,
  questionSchema,
} from "./control-words.ts";

const limits = { mostCallers: 16, mostBytes: questionMaxBytes, patienceMs } as const;

/**
 * Listens for the serve of this store, until the listener is closed. `answer` may reject: the caller is told. Throws
 * MigrateError "home-unusable" if nothing can listen there.
 */
export async function openControlSocket(
  home: string,
  store: string,
  answer: (question: Question) => Promise<Answer>,
): Promise<LineListener> {
  const path = controlSocket(home, store);
  const claims = new SocketClaims();
  try {
    mkdirSync(controlFolder(home), { recursive: true, mode: 0o700 });
    await claims.claim(path);
    return new LineListener(path, limits, async (line) => JSON.stringify(await answered(line, answer)));
  } catch (cause) {
    throw new MigrateError("home-unusable", `cannot listen on ${path}: ${(cause as Error).message}`, {
      side: "destination",
      cause,
      hint: "that is where migrate ticket asks a serve; look at what stands there, and who may write its folder",
    });
  } finally {
    claims.release();
  }
}

async function answered(
  line: string | null,
  answer: (question: Question) => Promise<Answer>,
): Promise<Answer> {
  try {
    return await answer(questionOf(line));
  } catch (thrown) {
    const { code, message } = asMigrateError(thrown);
    return { answer: "error", code, message };
  }
}

/** Null stands for a line that is too long. Throws MigrateError "protocol". */
function questionOf(line: string | null): Question {
  try {
    return v.parse(questionSchema, JSON.parse(line ?? ""));
  } catch (cause) {
    throw new MigrateError("protocol", "this serve does not understand what it is asked", { cause });
  }
}
