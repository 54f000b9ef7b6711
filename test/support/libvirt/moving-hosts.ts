/**
 * Libvirt hosts that all tests of a file share, each of which runs the compiled binary too: it serves with --libvirt,
 * and sends its domains to the others. No domain outlives the test that defined it, and nothing outlives the file.
 */
import { afterAll, afterEach, beforeAll } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guestImage } from "../guests/guest-image.ts";
import { killChildren } from "../system/child.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../system/process.ts";
import { LibvirtHost, type LibvirtHostOptions } from "./libvirt-host.ts";

/** The first run builds the guest, and what libvirt knows of its emulator. */
const startMs = 300_000;
const endMs = 60_000;

export class MovingHost {
  readonly #folder: string;
  #address = "";
  #ticket = "";
  /** Added to the environment of all that it runs. */
  env: Record<string, string> = {};

  constructor(
    readonly libvirt: LibvirtHost,
    folder: string,
  ) {
    this.#folder = join(folder, `${libvirt.name}-migrate`);
    mkdirSync(this.#folder);
  }

  /** Where it listens, and its first ticket: once it serves. */
  get reached(): { address: string; ticket: string } {
    return { address: this.#address, ticket: this.#ticket };
  }

  get home(): string {
    return join(this.#folder, "home");
  }

  get store(): string {
    return join(this.#folder, "store");
  }

  /** What lies in its store, sorted; the store's own lock aside. */
  inStore(): string[] {
    if (!existsSync(this.store)) return [];
    return readdirSync(this.store)
      .filter((name) => name !== ".migrate-lock")
      .sort();
  }

  /** Starts `migrate serve --libvirt` and waits until it listens. */
  async serve(...flags: string[]): Promise<MigrateProcess> {
    const words = ["serve", "--listen", "127.0.0.1:0", "--store", this.store, "--libvirt", ...flags];
    const serve = this.run(words);
    const { address, ticket = "" } = await serve.waitFor("listening");
    this.#address = address;
    this.#ticket = ticket;
    return serve;
  }

  /** `migrate send libvirt:NAME` to a host that serves. */
  send(name: string, to: MovingHost, ...flags: string[]): MigrateProcess {
    return this.run(["send", `libvirt:${name}`, to.#address, "--ticket", to.#ticket, ...flags]);
  }

  /** `migrate explain libvirt:NAME` with what a host that serves says of it. */
  explain(name: string, to: MovingHost, ...flags: string[]): MigrateProcess {
    return this.run(["explain", `libvirt:${name}`, to.#address, "--ticket", to.#ticket, ...flags]);
  }

  /** Any command of the binary, on this host. */
  run(words: string[]): MigrateProcess {
    return runMigrate([...words, "--json"], {
      home: this.home,
      env: this.env,
      binary: this.libvirt.command([builtBinary]),
    });
  }

  /** Ends and forgets every domain, with all that libvirt keeps of it. */
  async clear(): Promise<void> {
    const names = async (...flags: string[]) =>
      (await this.libvirt.virsh("list", "--uuid", ...flags)).split("\n").filter((line) => line !== "");
    for (const uuid of await names()) await this.libvirt.tryVirsh("destroy", uuid);
    for (const uuid of await names("--all"))
      await this.libvirt.virsh("undefine", uuid, "--managed-save", "--nvram", "--snapshots-metadata");
  }
}

export interface MovingHosts {
  /** The hosts, in the order of their names. */
  all(): [MovingHost, MovingHost, MovingHost];
}

/** For the top of a test file: its hosts, three as a rule, which are there from before its first test on. */
export function movingHosts(options: LibvirtHostOptions, ...names: string[]): MovingHosts {
  const hosts: MovingHost[] = [];
  let folder: string | undefined;
  beforeAll(async () => {
    await guestImage();
    // Short: the paths of sockets have at most 107 bytes.
    const made = mkdtempSync(join(tmpdir(), "lv-"));
    folder = made;
    // Whoever QEMU runs as finds its files there.
    chmodSync(made, 0o711);
    // One by one, so that those that have begun are stopped in the end.
    for (const name of names) hosts.push(new MovingHost(await LibvirtHost.start(made, name, options), made));
  }, startMs);
  afterEach(async () => {
    await killChildren();
    for (const host of hosts) await host.clear();
  }, endMs);
  afterAll(async () => {
    await killChildren();
    await Promise.all(hosts.splice(0).map(({ libvirt }) => libvirt.stop()));
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }, endMs);
  return { all: () => hosts as [MovingHost, MovingHost, MovingHost] };
}
