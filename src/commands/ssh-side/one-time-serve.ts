/** Starts a serve that outlives the ssh that asked for it, and waits until it listens. */
import { closeSync, constants, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { childEnvironment } from "../../platform/confine/child-environment.ts";
import { isErrorCode, MigrateError } from "../../protocol/errors.ts";

export interface OneTimeOptions {
  self: readonly string[];
  home: string;
  /** Where it listens: `--listen` values. */
  listen: readonly string[];
  /** The store, and what it takes: words behind `migrate serve`. */
  words: readonly string[];
  idleMs: number;
}

/** A store of many VMs is looked at first. */
const startMs = 60_000;
const lookMs = 20;

/** Throws MigrateError: what the serve ended with, or "policy" if it does not listen in time. */
export async function startOneTimeServe(options: OneTimeOptions): Promise<void> {
  const { self, home, listen, idleMs } = options;
  const log = join(home, `one-time-serve-${process.pid}.log`);
  const { O_WRONLY, O_CREAT, O_EXCL, O_APPEND, O_NOFOLLOW } = constants;
  rmSync(log, { force: true });
  const fd = openSync(log, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW, 0o600);
  const places = listen.flatMap((place) => ["--listen", place]);
  const child = Bun.spawn(
    // The ticket that it prints is nobody's: who comes is given another one.
    [
      ...[...self, "serve", "--json", ...options.words, "--ticket-ttl", "1s"],
      ...["--idle", `${Math.ceil(idleMs / 1000)}s`, ...places],
    ],
    {
      stdin: "ignore",
      stdout: fd,
      stderr: fd,
      // A session of its own (setsid(2)): the end of the ssh is not its end.
      detached: true,
      cwd: "/",
      env: childEnvironment({ MIGRATE_HOME: home }),
    },
  );
  child.unref();
  closeSync(fd);
  try {
    const lateAtMs = performance.now() + startMs;
    for (;;) {
      const text = readFileSync(log, "utf8");
      if (eventOf(text, "listening") !== null) return;
      if (child.exitCode !== null || child.signalCode !== null) throw endedWith(readFileSync(log, "utf8"));
      if (performance.now() > lateAtMs) {
        child.kill("SIGTERM");
        throw new MigrateError("policy", `a serve does not begin to listen within ${startMs / 1000} s`, {
          side: "destination",
        });
      }
      await Promise.race([Bun.sleep(lookMs), child.exited]);
    }
  } finally {
    // It goes on writing to a file without a name.
    rmSync(log, { force: true });
  }
}

/** The first event of that name among lines of which the last may not be whole. */
function eventOf(text: string, name: string): Record<string, unknown> | null {
  const lines = text.split("\n");
  lines.pop();
  for (const line of lines) {
    if (!line.startsWith("{")) continue;
    const event = JSON.parse(line) as Record<string, unknown>;
    if (event.event === name) return event;
  }
  return null;
}

function endedWith(text: string): MigrateError {
  const { code, message, hint } = eventOf(text, "error") ?? {};
  const side = "destination";
  if (typeof code === "string" && isErrorCode(code) && typeof message === "string")
    return new MigrateError(code, message, { side, hint: typeof hint === "string" ? hint : undefined });
  return new MigrateError("policy", `a serve ends as soon as it is started: ${text.trim().slice(-300)}`, {
    side,
  });
}
