/** Two hosts that run the compiled binary, with a link between them that stays when a process goes. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type EventNamed, type MigrateOptions, type MigrateProcess, runMigrate } from "../system/process.ts";
import { CuttingProxy } from "./cutting-proxy.ts";
import type { Hosts } from "./ownership.ts";

export interface ServeOptions extends Pick<MigrateOptions, "env" | "binary" | "cwd"> {
  /** More flags. */
  flags?: string[];
}

export class TwoHosts implements Hosts {
  readonly folder: string;
  sourceHome: string;
  destinationHome: string;
  store: string;
  readonly proxy: CuttingProxy;
  readonly #insecure: boolean;
  #port = 0;
  #ticket: string | undefined;

  private constructor(folder: string, insecure: boolean, proxy: CuttingProxy) {
    this.folder = folder;
    this.sourceHome = join(folder, "source-home");
    this.destinationHome = join(folder, "destination-home");
    this.store = join(folder, "store");
    this.#insecure = insecure;
    this.proxy = proxy;
  }

  /** Two hosts below `folder`, made where it is absent. Close them: their link listens. */
  static async make(folder: string, { insecure = false } = {}): Promise<TwoHosts> {
    mkdirSync(folder, { recursive: true });
    const proxy = await CuttingProxy.open({
      target: () => ({ host: "127.0.0.1", port: hosts.#port }),
      parseFrames: insecure,
    });
    const hosts: TwoHosts = new TwoHosts(folder, insecure, proxy);
    return hosts;
  }

  /** Starts `migrate serve` and waits until it listens; from then on the link leads there. */
  async serve(options: ServeOptions = {}): Promise<MigrateProcess> {
    const serve = this.startServe(options);
    this.reach(await serve.waitFor("listening"));
    return serve;
  }

  /** Starts `migrate serve` and does not wait. */
  startServe({ flags = [], ...options }: ServeOptions = {}): MigrateProcess {
    const fixed = ["serve", "--listen", "127.0.0.1:0", "--store", this.store, "--json"];
    return runMigrate([...fixed, ...this.#plain, ...flags], { home: this.destinationHome, ...options });
  }

  /** Makes the link lead to who listens there. */
  reach({ address, ticket }: EventNamed<"listening">): void {
    this.#port = Number(address.slice(address.lastIndexOf(":") + 1));
    this.#ticket ??= ticket;
  }

  /** `migrate send` of a VM's folder with the first ticket there was, over the link. */
  send(folder: string, flags: string[] = [], options: Partial<MigrateOptions> = {}): MigrateProcess {
    return this.source(["send", folder, this.proxy.addressText, ...this.#pairing, ...flags], options);
  }

  /** `migrate explain` of a VM, with what the destination says of it. */
  explain(vm: string): MigrateProcess {
    return this.source(["explain", vm, this.proxy.addressText, ...this.#pairing]);
  }

  /** `migrate send` of a VM that is given by its files. */
  sendFiles(flags: string[], options: Partial<MigrateOptions> = {}): MigrateProcess {
    return this.source(["send", this.proxy.addressText, ...this.#pairing, ...flags], options);
  }

  /** Any command on the source's host. */
  source(words: string[], options: Partial<MigrateOptions> = {}): MigrateProcess {
    return runMigrate([...words, "--json"], { home: this.sourceHome, ...options });
  }

  /** Any command on the destination's host. */
  destination(words: string[], options: Partial<MigrateOptions> = {}): MigrateProcess {
    return runMigrate([...words, "--json"], { home: this.destinationHome, ...options });
  }

  async close(): Promise<void> {
    await this.proxy.close();
  }

  get #plain(): string[] {
    return this.#insecure ? ["--insecure"] : [];
  }

  get #pairing(): string[] {
    return this.#ticket === undefined ? this.#plain : ["--ticket", this.#ticket];
  }
}
