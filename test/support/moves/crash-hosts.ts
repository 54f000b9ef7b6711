/** Two hosts whose processes can be killed at any journal write, with a link between them that stays. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { makeSmallVm, type SmallVm, type SmallVmOptions } from "../files/small-vm.ts";
import { baseName, describedVm, storeBase } from "../files/stored-base.ts";
import { type MigrateProcess, runMigrate } from "../system/process.ts";
import { planCrash } from "./crash-point.ts";
import { crashProgram } from "./crash-programs.ts";
import { CuttingProxy } from "./cutting-proxy.ts";
import { expectMoved, expectOneOwner, type Hosts } from "./ownership.ts";

/** Which call of a journal's hook is the last one of its process; 0 for none. */
export interface CrashPlan {
  source: number;
  destination: number;
}

export interface CrashOutcome {
  /** What was killed at, as "before released"; undefined where the plan's call never came. */
  source: string | undefined;
  destination: string | undefined;
  /** What the source's last process found at the destination; 0 where it had nothing more to send. */
  foundBytes: number;
}

export interface CrashVm {
  after?: "keep" | "rename" | "delete";
  /** Done to the VM's files while the source is dead. */
  whileDead?: (vm: SmallVm) => void;
}

/** The content of every VM of hosts that store a base of it. */
const describedContent: SmallVmOptions = { ...describedVm, seed: 1 };

export class CrashHosts {
  readonly #folder: string;
  readonly #store: string;
  readonly #home: string;
  readonly #storesBase: boolean;
  #serve: MigrateProcess | undefined;
  #port = 0;
  #cases = 0;

  /**
   * Two hosts below `folder`, which must not be there yet. With `storesBase` they know each other, the
   * destination has most of every VM already, in a base and in its index, and the rest is compressed.
   */
  constructor(folder: string, { storesBase = false } = {}) {
    mkdirSync(folder);
    this.#storesBase = storesBase;
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
    const vm = makeSmallVm(join(folder, name), this.#storesBase ? describedContent : { seed: this.#cases });
    const hosts: Hosts = {
      sourceHome: join(folder, "home"),
      destinationHome: this.#home,
      store: this.#store,
    };
    const context = `source dies at write ${plan.source}, destination at ${plan.destination}`;
    const outcome: CrashOutcome = { source: undefined, destination: undefined, foundBytes: 0 };
    if (this.#serve === undefined) await this.#startServe();
    this.#plan("destination", plan.destination);
    this.#plan("source", plan.source);
    const proxy = await CuttingProxy.open({
      target: () => ({ host: "127.0.0.1", port: this.#port }),
      parseFrames: !this.#storesBase,
    });
    const words = [hosts.sourceHome, vm.folder, String(proxy.address.port), after];
    words.push(join(this.#folder, "source"), ...(this.#storesBase ? [baseName] : []));
    const start = () => runMigrate(words, { home: hosts.sourceHome, binary: crashProgram("crash-send") });
    try {
      if (this.#storesBase) await introduce(hosts, proxy.addressText);
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
          outcome.foundBytes = (await send.waitFor("done")).foundBytes;
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
      if (!this.#storesBase && proxy.passed("chunk") !== vm.dataChunks) {
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
    const isFirst = this.#serve === undefined;
    if (isFirst) planCrash(plan, {});
    if (isFirst && this.#storesBase) {
      storeBase(makeSmallVm(join(this.#folder, "before"), describedContent), this.#store);
    }
    this.#serve = runMigrate([this.#home, this.#store, plan, ...(this.#storesBase ? ["secure"] : [])], {
      home: this.#home,
      binary: crashProgram("crash-serve"),
    });
    const { address } = await this.#serve.waitFor("listening");
    this.#port = Number(address.split(":")[1]);
    // An index that was there before may be at work already: only the first one has to be waited for.
    if (isFirst && this.#storesBase) await this.#serve.waitFor("indexed");
  }

  #plan(side: "source" | "destination", call: number): void {
    planCrash(join(this.#folder, side), { call });
  }
}

/** Makes two hosts know each other; the destination is reached at `address`. */
async function introduce({ sourceHome, destinationHome }: Hosts, address: string): Promise<void> {
  const [source, destination] = [openHome(sourceHome), openHome(destinationHome)];
  const { fingerprint } = await loadIdentity(source);
  await TrustFile.load(destination).add(fingerprint, "source", "the-source");
  const there = await loadIdentity(destination);
  await TrustFile.load(source).add(there.fingerprint, "destination", address);
}

/** Where a process was killed, in its own last words. */
function killedAt(process: MigrateProcess, context: string): string {
  const last = process.events.at(-1);
  if (last?.event !== "dies")
    throw new Error(`${context}: it ended by itself: ${process.stdout()}${process.stderr()}`);
  return `${String(last.when)} ${String(last.label)}`;
}
