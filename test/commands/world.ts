/** A made-up process for tests of commands: what it wrote can be read, and its home is a temporary folder. */
import { afterEach, beforeEach } from "bun:test";
import { EventEmitter } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { World } from "../../src/commands/cli/context.ts";
import type { CommandGroup } from "../../src/commands/cli/define-command.ts";
import type { Output } from "../../src/terminal/output.ts";

export class TestWorld implements World {
  /** Holds the home and whatever the test puts beside it. */
  readonly folder = mkdtempSync(join(tmpdir(), "migrate-command-"));
  readonly env: Record<string, string | undefined> = { MIGRATE_HOME: join(this.folder, "home") };
  readonly stdin = Object.assign(new EventEmitter(), { isTTY: false, resume() {}, pause() {} });
  readonly stdout: Output;
  readonly stderr: Output;
  readonly self = [process.execPath];
  readonly controller = new AbortController();
  #written = { stdout: "", stderr: "" };

  constructor() {
    const output = (name: "stdout" | "stderr"): Output => ({
      isTTY: false,
      queuedBytes: 0,
      write: (text) => {
        this.#written[name] += text;
      },
      flush: async () => {},
    });
    this.stdout = output("stdout");
    this.stderr = output("stderr");
  }

  size = () => ({ columns: 80, rows: 24 });
  nowMs = () => performance.now();
  interrupts = () => this.controller.signal;

  /** What was written since the last call. */
  take(): { stdout: string; stderr: string } {
    const written = this.#written;
    this.#written = { stdout: "", stderr: "" };
    return written;
  }

  /** The JSON lines written since the last call; throws where a line is none. */
  takeEvents(): Record<string, unknown>[] {
    const lines = this.take().stdout.split("\n");
    if (lines.pop() !== "") throw new Error("standard output does not end with a whole line");
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The command tree of these commands alone, as main.ts has it. */
export function commandTree(...names: string[]): CommandGroup {
  const load = (name: string) => async () => (await import(`../../src/commands/${name}.ts`)).default;
  const commands = Object.fromEntries(names.map((name) => [name, load(name)]));
  return { name: "migrate", summary: "move VMs", commands };
}

/** Gives each test a world of its own. */
export function eachTestHasWorld(take: (world: TestWorld) => void): void {
  let world: TestWorld | undefined;
  beforeEach(() => {
    world = new TestWorld();
    take(world);
  });
  afterEach(() => world?.remove());
}
