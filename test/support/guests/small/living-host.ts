/** A host on which small guests live after they arrived: a home, a store, and the commands for them. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processesBelow } from "../../moves/running-hosts.ts";
import { killChildren } from "../../system/child.ts";
import { type MigrateOptions, type MigrateProcess, runMigrate } from "../../system/process.ts";
import { until } from "../../system/until.ts";
import { laySmallGuest, type SmallWishes } from "./small-guest.ts";

export interface Answer {
  code: number | null;
  /** The last one. */
  event: Record<string, unknown> | undefined;
  events: readonly Record<string, unknown>[];
  stderr: string;
}

export class LivingHost {
  /** Short: the paths of sockets have at most 107 bytes. */
  readonly folder = mkdtempSync(join(tmpdir(), "live-"));
  readonly home = join(this.folder, "home");
  readonly store = join(this.folder, "store");

  /** Lays a guest in the store, under that name. Returns its folder. */
  lay(name: string, wishes: SmallWishes = {}): string {
    return laySmallGuest(this.store, name, wishes);
  }

  /** A command of this host with `--json`, as it runs. */
  begin(words: string[], options: Partial<MigrateOptions> = {}): MigrateProcess {
    return runMigrate([...words, "--json"], { home: this.home, ...options });
  }

  /** The same to its end. */
  async run(...words: string[]): Promise<Answer> {
    const process = this.begin(words);
    const { code } = await process.exit;
    const events = process.events as readonly Record<string, unknown>[];
    return { code, events, event: events.at(-1), stderr: process.stderr() };
  }

  /** Starts a guest of the store; throws with what was said if it does not start. */
  async start(name: string, ...words: string[]): Promise<Record<string, unknown>> {
    const answer = await this.run("start", name, "--store", this.store, ...words);
    if (answer.code !== 0) throw new Error(`it does not start: ${JSON.stringify(answer)}`);
    return answer.event!;
  }

  /** A path in the run folder of that guest. */
  inRun(name: string, file: string): string {
    return join(this.home, "run", name, file);
  }

  /** What it has said on its first serial line, by the file. */
  said(name: string): string {
    const log = this.inRun(name, "serial0.log");
    return existsSync(log) ? readFileSync(log, "latin1") : "";
  }

  /** Waits until it has said that. */
  async hears(name: string, text: string): Promise<void> {
    await until(() => this.said(name).includes(text), `${JSON.stringify(text)} of ${name}`, 60_000);
  }

  /** Programs of this host's VMs. */
  processes(): number[] {
    return processesBelow(join(this.home, "run"));
  }

  /** Ends all as a power cut would: nothing but what is on disk is left. */
  async cutPower(): Promise<void> {
    await killChildren();
    const left = () => {
      const pids = processesBelow(this.folder);
      for (const pid of pids) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // Gone by itself.
        }
      }
      return pids.length === 0;
    };
    await until(left, `the end of all processes below ${this.folder}`);
  }

  async close(): Promise<void> {
    await this.cutPower();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
