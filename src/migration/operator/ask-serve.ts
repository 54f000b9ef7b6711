/** Asks the `migrate serve` processes of this home, over their control sockets: who they are, and for tickets. */
import { lstatSync, readdirSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import * as v from "valibot";
import { exchangeLine } from "../../platform/line-socket.ts";
import { type ErrorCode, MigrateError } from "../../protocol/errors.ts";
import {
  type About,
  type Answer,
  answerMaxBytes,
  answerSchema,
  controlFolder,
  controlSocket,
  type IssuedTicket,
  patienceMs,
  type Question,
} from "../destination/serving/control-words.ts";

/** Sockets that are looked at; a store has one. */
const mostServes = 256;
const socketName = /^[0-9a-f]{32}\.sock$/;

/**
 * Returns what each serve of this home that runs says of itself. Throws MigrateError "protocol" or "network" if one
 * answers otherwise than it should, or not at all.
 */
export async function servesOf(home: string): Promise<About[]> {
  const abouts = await Promise.all(
    socketsOf(home).map(async (path) => {
      const answer = await ask(path, { ask: "about" });
      return answer === null ? [] : [expected(answer, "about")];
    }),
  );
  return abouts.flat();
}

/** What the serve of that very store says of itself; null if none runs. Throws as `servesOf`. */
export async function serveOf(home: string, store: string): Promise<About | null> {
  const answer = await ask(controlSocket(home, store), { ask: "about" });
  return answer === null ? null : expected(answer, "about");
}

/**
 * Has a serve of this home make a ticket that is good for `ttlMs` (a second to a week): the one of `store`, or the only
 * one that runs. Throws MigrateError "policy" if none or several could be meant, or it serves with --insecure, and what
 * `servesOf` throws.
 */
export async function askTicket(
  home: string,
  { store, ttlMs }: { store?: string | undefined; ttlMs: number },
): Promise<IssuedTicket> {
  const from = store === undefined ? await onlyStore(home) : await storeNamed(home, store);
  const answer = await ask(controlSocket(home, from), { ask: "ticket", ttlMs });
  if (answer === null) throw nobody(`no migrate serve of this user runs for the store ${from}`);
  return expected(answer, "ticket");
}

async function onlyStore(home: string): Promise<string> {
  const all = await servesOf(home);
  const secure = all.filter(({ fingerprint }) => fingerprint !== null);
  // One with --insecure takes no tickets: it is meant only if there is no other.
  const serves = secure.length > 0 ? secure : all;
  const [first] = serves;
  if (first === undefined) throw nobody("no migrate serve of this user runs here");
  if (serves.length === 1) return first.store;
  const stores = serves.map(({ store }) => store).sort();
  throw new MigrateError("policy", `${serves.length} of migrate serve run here`, {
    side: "destination",
    hint: `Say which with --store: ${stores.join(", ")}.`,
  });
}

/** A store by the path that its serve was given, or by another that leads there. */
async function storeNamed(home: string, store: string): Promise<string> {
  const path = resolve(store);
  if (lstatSync(controlSocket(home, path), { throwIfNoEntry: false }) !== undefined) return path;
  const serves = await servesOf(home);
  return serves.find((serve) => realPath(serve.store) === realPath(path))?.store ?? path;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function nobody(message: string): MigrateError {
  return new MigrateError("policy", message, {
    side: "destination",
    hint: "Start it with migrate serve --store DIR, which prints a ticket as well. One of another user, or with another MIGRATE_HOME, is asked as that user.",
  });
}

function socketsOf(home: string): string[] {
  const folder = controlFolder(home);
  try {
    const names = readdirSync(folder).filter((name) => socketName.test(name));
    return names.slice(0, mostServes).map((name) => join(folder, name));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw thrown;
  }
}

function expected<Name extends "about" | "ticket">(
  answer: Answer,
  name: Name,
): Omit<Extract<Answer, { answer: Name }>, "answer"> {
  if (answer.answer === "error")
    throw new MigrateError(answer.code as ErrorCode, answer.message, { side: "destination" });
  if (answer.answer !== name) throw strange();
  const { answer: _, ...rest } = answer;
  return rest as Omit<Extract<Answer, { answer: Name }>, "answer">;
}

/** Null if nobody listens there any more. */
async function ask(path: string, question: Question): Promise<Answer | null> {
  const limits = { mostBytes: answerMaxBytes, timeoutMs: patienceMs };
  const exchange = await exchangeLine(path, JSON.stringify(question), limits);
  switch (exchange.kind) {
    case "nobody":
      return null;
    case "late":
      throw new MigrateError("network", `the serve at ${path} does not answer`);
    case "unreachable": {
      const { cause } = exchange;
      throw new MigrateError("network", `the serve at ${path} cannot be asked: ${cause.message}`, { cause });
    }
    case "broken":
      throw strange();
    case "answered":
      try {
        return v.parse(answerSchema, JSON.parse(exchange.line));
      } catch (cause) {
        throw strange(cause);
      }
  }
}

function strange(cause?: unknown): MigrateError {
  return new MigrateError(
    "protocol",
    "a migrate serve that runs here gives no answer that this version reads",
    {
      side: "destination",
      cause,
      hint: "Is it of another version? Start it anew with this one.",
    },
  );
}
