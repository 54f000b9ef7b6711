/**
 * `migrate send` or `migrate serve` of libvirt's domains with a plan for its journal's writes: at a write of that name
 * it sends a signal to a process, itself for the word "self":
 * `bun dying-move.ts send|serve CONFIG`, a JSON object (MoveConfig). Its events are those of `--json`.
 */
import { readFileSync, writeSync } from "node:fs";
import { serve } from "../../../src/migration/destination/serve.ts";
import type { WriteHook } from "../../../src/migration/journal/journal.ts";
import type { MigrationEvent } from "../../../src/migration/report/events.ts";
import { startGuard } from "../../../src/migration/source/guard.ts";
import { sendVm } from "../../../src/migration/source/send.ts";
import { asMigrateError } from "../../../src/protocol/errors.ts";
import { systemUri } from "../../../src/vm/libvirt/virsh.ts";

export interface MoveConfig {
  home: string;
  /** At this call of the journal's hook, as "after released". */
  at: string;
  /** Who gets the signal: a pid, the path of a file with one, or "self". */
  victim: number | string;
  signal: NodeJS.Signals;
  /** Of send. */
  port?: number;
  live?: boolean;
  guard?: string;
  /** Of serve. */
  store?: string;
}

const [what = "", path = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(path, "utf8")) as MoveConfig;
const { home, at, victim, signal } = config;
const controller = new AbortController();
process.on("SIGINT", () => controller.abort());
process.on("SIGTERM", () => controller.abort());

let done = false;
const hook: WriteHook = (when, label) => {
  if (done || `${when} ${label}` !== at) return;
  done = true;
  // Not console.log, which may still hold it when the process is gone.
  writeSync(1, `${JSON.stringify({ event: "dies", when, label })}\n`);
  process.kill(pidOf(victim), signal);
};
function pidOf(whom: number | string): number {
  if (typeof whom === "number") return whom;
  return whom === "self" ? process.pid : Number(readFileSync(whom, "utf8").trim());
}
const observe = (event: MigrationEvent) => {
  if (event.event !== "progress") writeSync(1, `${JSON.stringify(event)}\n`);
};
const passphrase = () => Promise.reject(new Error("there is none"));

async function run(): Promise<void> {
  if (what === "serve") {
    await serve(
      {
        home,
        store: config.store ?? "",
        listen: [{ host: "127.0.0.1", port: 0 }],
        once: false,
        maxSessions: 256,
        ticketTtlMs: 600_000,
        insecure: true,
        index: true,
        workers: 1,
        libvirt: { uri: systemUri, netMap: "none" },
        passphrase,
        signal: controller.signal,
        onJournalWrite: hook,
      } as Parameters<typeof serve>[0],
      observe,
    );
    return;
  }
  await sendVm(
    {
      home,
      vm: {
        libvirt: "web1",
        connect: systemUri,
        live: config.live !== false,
        drop: [],
        downtimeLimitMs: 300,
        autoConverge: true,
        workers: 1,
      },
      address: { host: "127.0.0.1", port: config.port ?? 0 },
      lanes: 1,
      compression: "auto",
      after: "rename",
      copy: false,
      retryForMs: 20_000,
      insecure: true,
      passphrase,
      guard: (session) => startGuard([config.guard ?? ""], home, session),
      signal: controller.signal,
      onJournalWrite: hook,
    },
    observe,
  );
}

try {
  await run();
  process.exit(0);
} catch (thrown) {
  const { code, message, hint, exitCode } = asMigrateError(thrown);
  writeSync(1, `${JSON.stringify({ event: "error", code, message, hint })}\n`);
  process.exit(exitCode);
}
