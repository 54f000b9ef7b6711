/**
 * What a command reports, and how. With `json`, each event is one object a line on standard output and
 * nothing else is there; without, results go to standard output and progress, warnings and errors
 * to standard error, below which the progress bars are kept when that is a terminal.
 */
import { createConsola, LogLevels } from "consola/basic";
import type { MigrationEvent, Observer } from "../migration/report/events.ts";
import type { MigrateError } from "../protocol/errors.ts";
import { jsonLine, printable } from "../protocol/printable.ts";
import { ProgressDisplay } from "./display.ts";
import { type Colour, flowed, paint, styleFor } from "./line.ts";
import type { Output } from "./output.ts";
import { summaryOf } from "./progress.ts";
import { noProgress, progressAfter } from "./progress-state.ts";
import {
  doneText,
  type FailureContext,
  failureOf,
  failureText,
  indexedText,
  linkText,
  listeningText,
  sessionText,
  tuningFacts,
} from "./sentences.ts";
import { type Column, tableLines } from "./table.ts";

export interface ReporterOptions {
  json: boolean;
  stdout: Output;
  stderr: Output;
  env: Record<string, string | undefined>;
  /** The size of the terminal. */
  size: () => { columns: number; rows: number };
  /** A clock that is never set back, in milliseconds. */
  nowMs: () => number;
}

export interface Reporter {
  readonly json: boolean;
  /** Takes a migration's events. */
  observer: Observer;
  /** A result: `event` as a JSON line, or `text` on standard output. */
  result(event: { event: string } & Record<string, unknown>, text: string): void;
  /** Rows: each a JSON line with `event`, or together an aligned table (`empty` if there is none). */
  table<Row extends object>(
    event: string,
    columns: readonly Column<Row>[],
    rows: readonly Row[],
    empty: string,
  ): void;
  /** Columns of the terminal that results are written to; infinite if it is none. */
  readonly columns: () => number;
  /** Something worth knowing. */
  note(message: string): void;
  warn(message: string): void;
  /** The failure that ends the command; reported once, even if the observer has received it as an event. */
  fail(error: MigrateError, context?: FailureContext): void;
  /** A line for a person, whatever goes to standard output. */
  aside(message: string): void;
  /** Takes the progress off the screen, and draws it no more. */
  clear(): void;
  /** Takes the progress off the screen and waits until all is written. */
  close(): Promise<void>;
}

/** Shortest time between two lines of progress of one session if there is no terminal. */
const plainLineMs = 5000;

/** How many bytes a reader of JSON may be behind and still get events of progress. */
const jsonBacklogBytes = 1024 * 1024;

/** Events that the next one of their kind supersedes. */
const passing: readonly MigrationEvent["event"][] = ["progress", "ram"];

const prefixes: Record<string, { text: string; colour: Colour } | undefined> = {
  warn: { text: "warning: ", colour: "yellow" },
  error: { text: "error: ", colour: "red" },
  fatal: { text: "error: ", colour: "red" },
};

export function makeReporter(options: ReporterOptions): Reporter {
  const { stdout, stderr, json, nowMs } = options;
  const { style, redraws } = styleFor(options.env, stderr.isTTY);
  const display =
    redraws && !json ? new ProgressDisplay({ output: stderr, size: options.size, style, nowMs }) : undefined;
  let state = noProgress;
  let lastFailure = "";
  const shownAtMs = new Map<string, number>();

  const print = (output: Output, text: string) => {
    const line = `${text}\n`;
    if (display === undefined) output.write(line);
    else display.above(() => output.write(line));
  };
  const widthOf = ({ isTTY }: Output) => (isTTY ? options.size().columns : Number.POSITIVE_INFINITY);
  const widthOfResults = () => widthOf(stdout);
  const printJson = (object: object) => stdout.write(`${jsonLine(object)}\n`);
  const log = createConsola({
    level: LogLevels.info,
    // A line said many times over is said by us as often as it happens: the core decides how often.
    throttle: 0,
    reporters: [
      {
        log: (entry) => {
          const { text: lead, colour } = prefixes[entry.type] ?? { text: "", colour: "bold" };
          // What to do, on the lines below, may be a command that is there to be copied.
          const [sentence = "", ...hints] = entry.args.join(" ").split("\n");
          const shown = flowed(lead + sentence, widthOf(stderr));
          print(stderr, [paint(style, colour, lead) + shown.slice(lead.length), ...hints].join("\n"));
        },
      },
    ],
  });

  const plainProgress = (session: string) => {
    const view = state.get(session);
    const now = nowMs();
    // The first line comes after the pause as well: a short migration needs none.
    const shown = shownAtMs.get(session) ?? now;
    if (view !== undefined && now - shown >= plainLineMs) {
      log.log(summaryOf(view, now));
      shownAtMs.set(session, now);
    } else shownAtMs.set(session, shown);
  };

  const observeForPeople = (event: MigrationEvent) => {
    const before = state;
    state = progressAfter(state, event, nowMs());
    switch (event.event) {
      case "listening":
        // The command and the ticket are there to be copied.
        print(
          stdout,
          listeningText(event).replace(/^\S.*$/gm, (line) => flowed(line, widthOfResults())),
        );
        break;
      case "session":
        log.log(sessionText(event));
        break;
      case "paired":
        log.log(`Paired with ${printable(event.peer)}; from now on no ticket is needed`);
        break;
      case "attested":
        // The others of a move are of the same platform.
        if (event.moment === "offer")
          log.log(`${event.peer} has proven its state, as version ${event.policy} of its policy has it`);
        break;
      case "indexed":
        if (event.bytesRead > 0) log.log(indexedText(event));
        break;
      case "phase":
        if (display === undefined && before.get(event.session)?.phase !== event.phase)
          log.log(`${printable(event.name)}: ${event.phase}`);
        break;
      case "progress":
        if (display === undefined) plainProgress(event.session);
        break;
      case "tuned":
        log.log(`${printable(event.name)}, from now on: ${tuningFacts(event).join(", ")}`);
        break;
      case "link":
        // A stream's loss is reported once, and not at all while the link's own is known.
        if (event.state === "lost") {
          if (event.attempt > 0 || !before.get(event.session)?.link) log.warn(linkText(event));
        } else if (before.get(event.session)?.link) log.log(linkText(event));
        break;
      case "warning":
        log.warn(printable(event.message));
        break;
      case "notice":
        log.log(printable(event.message));
        break;
      case "stopped":
        shownAtMs.delete(event.session);
        if (event.why === "link-lost")
          log.log(`${printable(event.name)}: its source is not connected any more; waiting for it`);
        break;
      case "done":
        display?.update(state);
        shownAtMs.delete(event.session);
        print(stdout, flowed(doneText(event), widthOfResults()));
        break;
      case "error":
        display?.update(state);
        log.error(failureText(event));
        break;
    }
    if (state !== before) display?.update(state);
  };

  return {
    json,
    observer: (event) => {
      if (event.event === "error") lastFailure = `${event.code} ${event.message}`;
      if (!json) observeForPeople(event);
      else if (!passing.includes(event.event) || stdout.queuedBytes < jsonBacklogBytes) printJson(event);
    },
    result: (event, text) => (json ? printJson(event) : print(stdout, text)),
    table: (event, columns, rows, empty) => {
      if (json) for (const row of rows) printJson({ event, ...row });
      else if (rows.length === 0) print(stdout, empty);
      else
        print(
          stdout,
          tableLines(columns, rows, stdout.isTTY ? style : undefined, widthOfResults()).join("\n"),
        );
    },
    columns: widthOfResults,
    note: (message) => (json ? printJson({ event: "notice", message }) : log.log(printable(message))),
    warn: (message) => (json ? printJson({ event: "warning", message }) : log.warn(printable(message))),
    fail: (error, context) => {
      if (lastFailure === `${error.code} ${error.message}`) return;
      const failure = failureOf(error, context);
      if (json) printJson({ event: "error", ...failure });
      else log.error(failureText(failure));
    },
    aside: (message) => print(stderr, flowed(message, widthOf(stderr))),
    clear: () => display?.close(),
    close: async () => {
      display?.close();
      await Promise.all([stdout.flush(), stderr.flush()]);
    },
  };
}
