/** A process of this very program, with its `--json` events at hand. */

import type { MigrationEvent } from "../../migration/report/events.ts";
import { childEnvironment } from "../../platform/confine/child-environment.ts";
import { readLines } from "../../profiler/engine/lines.ts";
import { MigrateError } from "../../protocol/errors.ts";

export interface DemoChildOptions {
  /** How this program is started: the binary, or bun and main.ts. */
  self: readonly string[];
  argv: readonly string[];
  home: string;
  observe: (event: MigrationEvent) => void;
}

export class DemoChild {
  readonly events: MigrationEvent[] = [];
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #name: string;
  readonly #read: Promise<void>;
  readonly #stderr: Promise<string>;
  #waiting: (() => void) | undefined;

  constructor(options: DemoChildOptions) {
    this.#name = options.argv[0] ?? "";
    this.#process = Bun.spawn([...options.self, ...options.argv, "--json"], {
      env: childEnvironment({ MIGRATE_HOME: options.home }),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#stderr = new Response(this.#process.stderr).text();
    this.#read = this.#readEvents(options.observe);
  }

  /** The first event of this name; rejects with the child's own error if it ends without one. */
  async waitFor<Name extends MigrationEvent["event"]>(
    name: Name,
  ): Promise<Extract<MigrationEvent, { event: Name }>> {
    let ended = false;
    const end = this.#read.then(() => {
      ended = true;
    });
    for (;;) {
      const found = this.events.find((event) => event.event === name);
      if (found !== undefined) return found as Extract<MigrationEvent, { event: Name }>;
      if (ended) throw await this.#failure(`ended without the event "${name}"`);
      const arrived = new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
      await Promise.race([arrived, end]);
    }
  }

  /** Resolves when it has ended well; rejects with its error if it has not. */
  async finished(): Promise<void> {
    await this.#read;
    if ((await this.#process.exited) !== 0) throw await this.#failure("failed");
  }

  /** Ends it, whatever it does. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    await this.#read.catch(() => {});
  }

  async #failure(what: string): Promise<MigrateError> {
    const error = this.events.find((event) => event.event === "error");
    if (error !== undefined)
      return new MigrateError(error.code, error.message, {
        side: error.side,
        phase: error.phase,
        hint: error.hint,
      });
    const code = await this.#process.exited;
    const stderr = (await this.#stderr).trim();
    return new MigrateError(
      "bug",
      `migrate ${this.#name} ${what} (exit code ${code})${stderr === "" ? "" : `: ${stderr}`}`,
    );
  }

  async #readEvents(observe: (event: MigrationEvent) => void): Promise<void> {
    for await (const line of readLines(this.#process.stdout)) {
      const event = JSON.parse(line) as MigrationEvent;
      this.events.push(event);
      observe(event);
      this.#waiting?.();
    }
  }
}
