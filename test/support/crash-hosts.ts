/** Two hosts whose processes can be killed at any journal write, with a link between them that stays. */
import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { planCrash } from "./crash-point.ts";
import { CuttingProxy } from "./cutting-proxy.ts";
import { expectMoved, expectOneOwner, type Hosts } from "./ownership.ts";
import { type MigrateProcess, runMigrate } from "./process.ts";
import { makeSmallVm, type SmallVm } from "./small-vm.ts";

/** Which call of a journal's hook is the last one of its process; 0 for none. */
export interface CrashPlan {
  source: number;
  destination: number;
}

export interface CrashOutcome {
  /** What was killed at, as "before released"; undefined where the plan's call never came. */
  source: string | undefined;
  destination: string | undefined;
}

export interface CrashVm {
  after?: "keep" | "rename" | "delete";
  /** Done to the VM's files while the source is dead. */
  whileDead?: (vm: SmallVm) => void;
}

/** The command that runs crash-send.ts or crash-serve.ts. */
export const crashProgram = (name: "crash-send.ts" | "crash-serve.ts"): string[] => [
  process.execPath,
  resolve(import.meta.dir, name),
];

export class CrashHosts {
  readonly #folder: string;
  readonly #store: string;
  readonly #home: string;
  #serve: MigrateProcess | undefined;
  #port = 0;
  #cases = 0;

  /** Two hosts below `folder`, which must not be there yet. */
  constructor(folder: string) {
    mkdirSync(folder);
    this.#folder = folder;
    this.#store = join(folder, "store");
    this.#home = join(folder, "destination-home");
  }

  /**
   * Moves a VM while both sides die as planned, each once, and is started again with the same command;
   * whenever one is dead, both hosts are looked at while the other one stands still. Throws where
   * anything that must hold does not.
   */
  async move(plan: CrashPlan, { after = "rename", whileDead }: CrashVm = {}): Promise<CrashOutcome> {
    const name = `vm${++this.#cases}`;
    const folder = join(this.#folder, name);
    const vm = makeSmallVm(join(folder, name), { seed: this.#cases });
    const hosts: Hosts = {
      sourceHome: join(folder, "home"),
      destinationHome: this.#home,
      store: this.#store,
    };
    const context = `source dies at write ${plan.source}, destination at ${plan.destination}`;
    const outcome: CrashOutcome = { source: undefined, destination: undefined };
    if (this.#serve === undefined) await this.#startServe();
    this.#plan("destination", plan.destination);
    this.#plan("source", plan.source);
    const proxy = await CuttingProxy.open({
      target: () => ({ host: "127.0.0.1", port: this.#port }),
      parseFrames: true,
    });
    const start = () =>
      runMigrate(
        [hosts.sourceHome, vm.folder, String(proxy.address.port), after, join(this.#folder, "source")],
        {
          home: hosts.sourceHome,
          binary: crashProgram("crash-send.ts"),
        },
      );
    try {
      let send = start();
      for (;;) {
        const serve = this.#serve!;
        const died = await Promise.race([serve.exit.then(() => "serve"), send.exit.then(() => "send")]);
        if (died === "serve") {
          send.signal("SIGSTOP");
          outcome.destination = killedAt(serve, context);
          expectOneOwner(vm, hosts, `${context}, killed ${outcome.destination}`);
          send.signal("SIGCONT");
          this.#plan("destination", 0);
          await this.#startServe();
          continue;
        }
        const { code, signal } = await send.exit;
        if (signal === null) {
          // Killed when all was done but the saying so: then it was moved, and that is what is said.
          if (code === 7 && outcome.source === "after ended") break;
          if (code !== 0) throw new Error(`${context}: send ended with ${code}: ${send.stdout()}`);
          break;
        }
        serve.signal("SIGSTOP");
        outcome.source = killedAt(send, context);
        expectOneOwner(vm, hosts, `${context}, killed ${outcome.source}`);
        serve.signal("SIGCONT");
        whileDead?.(vm);
        this.#plan("source", 0);
        send = start();
      }
      expectMoved(vm, hosts, `${context}, killed ${JSON.stringify(outcome)}`, after);
      if (proxy.passed("chunk") !== vm.dataChunks) {
        // Every chunk was acknowledged before the journal was written next.
        throw new Error(`${context}: ${proxy.passed("chunk")} chunks were sent, not ${vm.dataChunks}`);
      }
      return outcome;
    } finally {
      await proxy.close();
      rmSync(folder, { recursive: true });
      rmSync(join(this.#store, name), { recursive: true, force: true });
    }
  }

  /** Ends the destination's process. */
  async close(): Promise<void> {
    await this.#serve?.kill();
  }

  async #startServe(): Promise<void> {
    const plan = join(this.#folder, "destination");
    if (this.#serve === undefined) planCrash(plan, {});
    this.#serve = runMigrate([this.#home, this.#store, plan], {
      home: this.#home,
      binary: crashProgram("crash-serve.ts"),
    });
    const { address } = await this.#serve.waitFor("listening");
    this.#port = Number(address.split(":")[1]);
  }

  #plan(side: "source" | "destination", call: number): void {
    planCrash(join(this.#folder, side), { call });
  }
}

/** Where a process was killed, in its own last words. */
function killedAt(process: MigrateProcess, context: string): string {
  const last = process.events.at(-1);
  if (last?.event !== "dies")
    throw new Error(`${context}: it ended by itself: ${process.stdout()}${process.stderr()}`);
  return `${String(last.when)} ${String(last.label)}`;
}
