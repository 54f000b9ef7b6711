#!/usr/bin/env bun
/** The command tree. The only place that ends the process. */
import { isatty } from "node:tty";
import type { World } from "./commands/cli/context.ts";
import type { CommandGroup } from "./commands/cli/define-command.ts";
import { Interruption } from "./commands/cli/interruption.ts";
import { runProgram } from "./commands/cli/program.ts";
import { asMigrateError, exitCodes } from "./protocol/errors.ts";
import { DescriptorOutput } from "./terminal/output.ts";

/** Each is loaded when it is asked for, so that `--version` and scripts need not wait for all. */
const tree: CommandGroup = {
  name: "migrate",
  summary: "move virtual machines between hosts: RAM, disks, virtual TPM, and the right to run them",
  commands: {
    serve: async () => (await import("./commands/serve.ts")).default,
    send: async () => (await import("./commands/send.ts")).default,
    status: async () => (await import("./commands/status.ts")).default,
    resolve: async () => (await import("./commands/resolve.ts")).default,
    history: async () => (await import("./commands/history.ts")).default,
    verify: async () => (await import("./commands/verify.ts")).default,
    ls: async () => (await import("./commands/ls.ts")).default,
    explain: async () => (await import("./commands/explain.ts")).default,
    id: async () => (await import("./commands/id.ts")).default,
    trust: async () => (await import("./commands/trust.ts")).default,
    doctor: async () => (await import("./commands/doctor.ts")).default,
    profile: async () => (await import("./commands/profile.ts")).default,
    "send-guard": async () => (await import("./commands/send-guard.ts")).default,
    "profile-side": async () => (await import("./commands/profile-side.ts")).default,
    demo: async () => (await import("./commands/demo.ts")).default,
  },
};

const stdout = new DescriptorOutput(1, isatty(1));
const stderr = new DescriptorOutput(2, isatty(2));

/** The first signal ends the work in good order, a second SIGINT ends the process at once. */
function interrupts(): AbortSignal {
  const controller = new AbortController();
  process.on("SIGTERM", () => controller.abort(new Interruption("SIGTERM")));
  process.on("SIGINT", () => {
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    controller.abort(new Interruption("SIGINT"));
    stderr.write("\nInterrupted: ending in good order; once more to end at once\n");
  });
  return controller.signal;
}

/** What nobody caught is a bug of ours, said in a line. */
function endAsBug(thrown: unknown): void {
  const error = asMigrateError(thrown);
  const trace = process.env.MIGRATE_DEBUG && thrown instanceof Error ? `\n${thrown.stack}` : "";
  stderr.write(`error: a bug in migrate: ${error.message}${trace}\n`);
  void Promise.all([stdout.flush(), stderr.flush()]).finally(() => process.exit(error.exitCode));
}

process.on("uncaughtException", endAsBug);
process.on("unhandledRejection", endAsBug);

const world: World = {
  env: process.env,
  // Asked for only when there is a question: opening standard input would take what a pipe holds.
  get stdin() {
    return process.stdin;
  },
  stdout,
  stderr,
  size: () => ({ columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 }),
  nowMs: () => performance.now(),
  interrupts,
  // In the compiled binary the program is the executable itself, and Bun.main lies within it.
  self: Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main],
};

process.exit(await runProgram(tree, process.argv.slice(2), world));
