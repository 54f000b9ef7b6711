/**
 * What is said to a `migrate send` that runs, over a unix socket in MIGRATE_HOME that its user alone may connect to: one
 * line of JSON each way, and no more on that connection. Pure.
 */
import { join } from "node:path";
import * as v from "valibot";
import { tuningSchema } from "../report/tuning.ts";

/** Longest line in bytes, its end included. */
export const controlLineBytes = 4096;

export const controlRequestSchema = v.variant("say", [
  v.strictObject({ say: v.literal("tune"), tuning: tuningSchema }),
  v.strictObject({ say: v.literal("look") }),
]);
export type ControlRequest = v.InferOutput<typeof controlRequestSchema>;

const text = v.pipe(v.string(), v.maxLength(controlLineBytes));

/** How a move runs just now, beside what the journal knows of it. */
const lookSchema = v.object({
  /** What was changed on the way, and the bandwidth that it has. */
  tuning: tuningSchema,
  /** Milliseconds until `--timeout`, below 0 once that is over; absent if there is none. */
  timeoutInMs: v.exactOptional(v.number()),
  onTimeout: v.exactOptional(v.picklist(["cancel", "force"])),
});
export type MoveLook = v.InferOutput<typeof lookSchema>;

export const controlAnswerSchema = v.union([
  v.object({ look: lookSchema }),
  v.object({ error: v.object({ code: text, message: text, hint: v.exactOptional(text) }) }),
]);
export type ControlAnswer = v.InferOutput<typeof controlAnswerSchema>;

/** Where the process that sends this session listens: in the folder of the sessions' locks. */
export function controlPath(home: string, session: string): string {
  // The paths of sockets are short (unix(7)); half an id tells a home's sessions apart.
  return join(home, "sessions", `${session.slice(0, 16)}.ctl`);
}
