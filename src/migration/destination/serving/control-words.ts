/**
 * What is said on the control socket of a `migrate serve`: one line of JSON that asks, one that answers. Both are
 * programs of one user on one host, maybe of two versions: what is not understood is refused, on either side.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import * as v from "valibot";
import { isErrorCode } from "../../../protocol/errors.ts";

/** Longest question and longest answer, in bytes, the end of the line included. */
export const questionMaxBytes = 1024;
export const answerMaxBytes = 64 * 1024;
/** How long either side waits for the other's line, in milliseconds. */
export const patienceMs = 5_000;
/** Bounds of a ticket's life, in milliseconds: a second, and a week. */
export const ticketTtl = { leastMs: 1_000, mostMs: 7 * 24 * 3_600_000 } as const;

const text = v.pipe(v.string(), v.maxLength(4096));
const ttlMs = v.pipe(
  v.number(),
  v.safeInteger(),
  v.minValue(ticketTtl.leastMs),
  v.maxValue(ticketTtl.mostMs),
);

export const questionSchema = v.variant("ask", [
  v.strictObject({ ask: v.literal("about") }),
  v.strictObject({ ask: v.literal("ticket"), ttlMs }),
]);

const about = {
  store: text,
  /** By which addresses others reach it, the likeliest first. */
  addresses: v.pipe(v.array(text), v.minLength(1), v.maxLength(256)),
  /** Null with --insecure. */
  fingerprint: v.nullable(text),
  version: text,
  pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  /** Sessions of the store that are open. */
  sessions: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** Whether it takes VMs that run, and those of libvirt. */
  qemu: v.boolean(),
  libvirt: v.boolean(),
};

export const answerSchema = v.variant("answer", [
  v.object({ answer: v.literal("about"), ...about }),
  v.object({ answer: v.literal("ticket"), ticket: text, command: text, ttlMs, ...about }),
  v.object({ answer: v.literal("error"), code: v.pipe(v.string(), v.check(isErrorCode)), message: text }),
]);

export type Question = v.InferOutput<typeof questionSchema>;
export type Answer = v.InferOutput<typeof answerSchema>;
export type About = Omit<Extract<Answer, { answer: "about" }>, "answer">;
export type IssuedTicket = Omit<Extract<Answer, { answer: "ticket" }>, "answer">;

/** The folder of a home's control sockets. */
export const controlFolder = (home: string): string => join(home, "serve");

/** The control socket of the serve that has this store (an absolute path): its path may be longer than a socket's. */
export function controlSocket(home: string, store: string): string {
  const name = createHash("sha256").update(store).digest("hex").slice(0, 32);
  return join(controlFolder(home), `${name}.sock`);
}
