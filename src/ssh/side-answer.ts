/** What `migrate ssh-side` on the other host answers: one line of JSON, the last of what it prints. Pure. */
import * as v from "valibot";
import { isErrorCode, MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";

const text = (most: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(most));
const absolute = v.pipe(text(4096), v.startsWith("/"));

/**
 * A unix socket's path, or host:port (ssh(1), -L). ssh replaces "%" and "${" in a path by what only this host's user is to
 * know, and names the socket so at the other host: no path has either.
 */
const wayForm = /^(?:\/[\w.,+@/-]+|\[[0-9A-Fa-f:.]+\]:\d{1,5}|[0-9A-Za-z][0-9A-Za-z.-]*:\d{1,5})$/;

const opened = v.object({
  answer: v.literal("opened"),
  store: absolute,
  /** The unix socket there on which it listens, or host:port where it has none. */
  way: v.pipe(text(300), v.regex(wayForm)),
  /** Where it listens on TCP, for others. */
  tcp: v.pipe(
    v.array(
      v.object({
        host: v.pipe(v.string(), v.regex(/^[0-9A-Za-z][0-9A-Za-z.:-]{0,252}$/)),
        port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
      }),
    ),
    v.maxLength(16),
  ),
  fingerprint: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)),
  ticket: text(1024),
  /** A serve that ran there already, in place of one of our own. */
  found: v.boolean(),
});

const failed = v.object({
  answer: v.literal("failed"),
  code: text(40),
  message: text(2000),
  hint: v.optional(text(2000)),
});

const answers = v.variant("answer", [opened, failed]);

export type SideOpened = v.InferOutput<typeof opened>;
export type SideAnswer = v.InferOutput<typeof answers>;

/**
 * Reads the answer of a `ssh-side` that was to open a serve. Throws the MigrateError that it tells, as one of the other side's, or
 * "protocol"; null if there is no answer at all.
 */
export function readSideAnswer(output: string, place: string): SideOpened | null {
  const line = output.trimEnd().split("\n").at(-1) ?? "";
  if (!line.startsWith("{")) return null;
  const parsed = v.safeParse(answers, parsedJson(line));
  if (!parsed.success) {
    throw new MigrateError("protocol", `what migrate at ${place} answers is not what was asked`, {
      side: "destination",
    });
  }
  const answer = parsed.output;
  if (answer.answer === "opened") return answer;
  throw new MigrateError(
    isErrorCode(answer.code) ? answer.code : "protocol",
    `${place}: ${printable(answer.message)}`,
    {
      side: "destination",
      ...(answer.hint === undefined ? {} : { hint: printable(answer.hint) }),
    },
  );
}

function parsedJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
