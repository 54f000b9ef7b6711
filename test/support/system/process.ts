/** Running the program itself as a child process, with its `--json` events at hand. */
import { resolve } from "node:path";
import type { MigrationEvent } from "../../../src/migration/report/events.ts";
import { type ChildExit, type ChildOptions, startChild } from "./child.ts";
import { withDeadline } from "./deadline.ts";

/** The binary that `bun run build` writes. */
export const builtBinary = resolve(import.meta.dir, "../../../dist/migrate");

/** An event of a known name has its type; of any other it is an object with that name. */
export type EventNamed<Name extends string> = Name extends MigrationEvent["event"]
  ? Extract<MigrationEvent, { event: Name }>
  : { event: Name } & Record<string, unknown>;

export interface MigrateOptions {
  /** Its MIGRATE_HOME: each host of a test has its own. */
  home: string;
  /** Added to the environment; a variable that is `undefined` is taken out of it. */
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** What to run instead of dist/migrate: a path, or a command with its first arguments. */
  binary?: string | string[];
}

export interface WaitOptions<Name extends string> {
  /** Only an event for which this holds. */
  where?: (event: EventNamed<Name>) => boolean;
  /** 30 s where it is absent. */
  deadlineMs?: number;
}

export interface MigrateProcess {
  readonly pid: number;
  /** Every event so far, in order. */
  readonly events: readonly EventNamed<string>[];
  /** Lines of standard output that are no JSON object with an `event` field; must stay empty with --json. */
  readonly strayLines: readonly string[];
  /**
   * The first event of that name, whether it came already or is still to come.
   * Rejects when the process ends without it or the deadline passes, and says what there was instead.
   */
  waitFor<Name extends string>(name: Name, options?: WaitOptions<Name>): Promise<EventNamed<Name>>;
  /** Its end, with all events read; never rejects. */
  readonly exit: Promise<ChildExit>;
  /** Sends SIGKILL, or the signal named, and waits for the end. */
  kill(signal?: NodeJS.Signals): Promise<ChildExit>;
  /** Sends a signal and does not wait. */
  signal(signal: NodeJS.Signals): void;
  stdout(): string;
  stderr(): string;
  /** User and system CPU time in milliseconds, known after its end. */
  cpuMs(): { userMs: number; systemMs: number } | undefined;
}

/**
 * Runs `migrate` with the arguments given (add `--json` yourself where events are wanted).
 * It is killed with the test process; `killChildren` of child.ts ends it earlier.
 */
export function runMigrate(args: string[], options: MigrateOptions): MigrateProcess {
  const events: EventNamed<string>[] = [];
  const strayLines: string[] = [];
  const watchers = new Set<() => void>();
  let ended = false;
  let rest = "";

  const take = (line: string): void => {
    const event = parseEvent(line);
    if (event === undefined) strayLines.push(line);
    else events.push(event);
  };
  const childOptions: ChildOptions = {
    env: environment(options),
    onStdout(text) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) take(line);
      for (const look of [...watchers]) look();
    },
  };
  if (options.cwd !== undefined) childOptions.cwd = options.cwd;
  const program = options.binary ?? builtBinary;
  const child = startChild([...(typeof program === "string" ? [program] : program), ...args], childOptions);
  const exit = child.exit.then((end) => {
    // A last line without its newline is not a whole event.
    if (rest !== "") strayLines.push(rest);
    ended = true;
    for (const look of [...watchers]) look();
    return end;
  });

  const report = (): string =>
    [
      `migrate ${args.join(" ")}`,
      `events: ${events.map((event) => JSON.stringify(event)).join("\n  ") || "none"}`,
      `stray lines: ${strayLines.join("\n  ") || "none"}`,
      `stderr: ${child.stderr().trim() || "empty"}`,
    ].join("\n");

  return {
    pid: child.pid,
    events,
    strayLines,
    exit,
    waitFor<Name extends string>(name: Name, { where, deadlineMs = 30_000 }: WaitOptions<Name> = {}) {
      const found = Promise.withResolvers<EventNamed<Name>>();
      let looked = 0;
      const look = (): void => {
        for (; looked < events.length; looked++) {
          const event = events[looked];
          if (event?.event !== name) continue;
          const named = event as EventNamed<Name>;
          if (where !== undefined && !where(named)) continue;
          found.resolve(named);
          return;
        }
        if (ended) found.reject(new Error(`it ended without the event ${name}\n${report()}`));
      };
      watchers.add(look);
      look();
      const waiting = withDeadline(found.promise, deadlineMs, () => `the event ${name}\n${report()}`);
      const answer = waiting.finally(() => watchers.delete(look));
      // It may fail while its caller still waits for something else.
      answer.catch(() => {});
      return answer;
    },
    async kill(signal = "SIGKILL") {
      child.signal(signal);
      return await exit;
    },
    signal: (signal) => child.signal(signal),
    stdout: () => child.stdout(),
    stderr: () => child.stderr(),
    cpuMs: () => child.cpuMs(),
  };
}

/** The test's environment without what changes how a Bun program runs or what it prints. */
function environment(options: MigrateOptions): Record<string, string | undefined> {
  return { ...process.env, BUN_OPTIONS: undefined, MIGRATE_HOME: options.home, ...options.env };
}

function parseEvent(line: string): EventNamed<string> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null || !("event" in value)) return undefined;
    return typeof value.event === "string" ? (value as EventNamed<string>) : undefined;
  } catch {
    return undefined;
  }
}
