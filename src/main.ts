#!/usr/bin/env bun
/** The program's entry: the process around the commands. The only place that ends the process. */
// First of all: see there.
import "./commands/cli/early-signals.ts";
import { isatty } from "node:tty";
import type { World } from "./commands/cli/context.ts";
import { takeSignals } from "./commands/cli/early-signals.ts";
import { Interruption } from "./commands/cli/interruption.ts";
import { runProgram } from "./commands/cli/program.ts";
import { tree } from "./commands/tree.ts";
import { asMigrateError, exitCodes } from "./protocol/errors.ts";
import { DescriptorOutput } from "./terminal/output.ts";

const stdout = new DescriptorOutput(1, isatty(1));
const stderr = new DescriptorOutput(2, isatty(2));

/** Takes what is drawn off the screen. */
let clear = () => {};

/** The first signal ends the work in good order, a second SIGINT ends the process at once. */
const interrupts: World["interrupts"] = (screen) => {
  const controller = new AbortController();
  clear = () => screen.clear();
  takeSignals((signal) => {
    if (signal === "SIGINT" && controller.signal.aborted) {
      clear();
      process.exit(exitCodes.interrupted);
    }
    if (signal === "SIGINT") screen.aside("Interrupted: ending in good order; once more to end at once");
    controller.abort(new Interruption(signal));
  });
  return controller.signal;
};

/** What nobody caught is a bug of ours: it ends the process with one line. */
function endAsBug(thrown: unknown): void {
  const error = asMigrateError(thrown);
  clear();
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
  // Either may be a file while the other is the terminal.
  size: () => ({
    columns: process.stderr.columns || process.stdout.columns || 80,
    rows: process.stderr.rows || process.stdout.rows || 24,
  }),
  nowMs: () => performance.now(),
  interrupts,
  // Loaded no earlier: a process that may do too little for it is told so first.
  prepare: async () => (await import("./platform/core-dumps.ts")).forbidCoreDumps(),
  // In the compiled binary the program is the executable itself, and Bun.main lies within it.
  self: Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main],
};

process.exit(await runProgram(tree, process.argv.slice(2), world));
