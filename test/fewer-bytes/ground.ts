/** A source and a destination whose store has something already: for tests of what need not be sent. */
import { expect } from "bun:test";
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Report } from "../../src/migration/report/report.ts";
import { randomStream } from "../support/files/small-vm.ts";
import { type SendingOptions, sendWhole } from "../support/moves/sending.ts";
import { type Serving, type ServingOptions, startServing, stopServing } from "../support/moves/serving.ts";
import { until } from "../support/system/until.ts";

const mebibyte = 1024 ** 2;

/** Data of `mib` MiB: words, random bytes and zeros in stretches that are no multiple of a block. */
export function mixedData(mib: number, seed: number): Buffer {
  const data = Buffer.alloc(Math.round(mib * mebibyte));
  const random = randomStream(seed);
  for (let at = 0, turn = 0; at < data.length; turn++) {
    const bytes = Math.min(data.length - at, 100_000 + random(2).readUInt16BE(0));
    if (turn % 3 === 0) random(bytes).copy(data, at);
    else if (turn % 3 === 1)
      data.fill(`a line of text, and its number is ${turn} of ${seed}\n`, at, at + bytes);
    at += bytes;
  }
  return data;
}

export class Ground {
  readonly root = mkdtempSync(join(tmpdir(), "migrate-fewer-"));
  readonly home = join(this.root, "source-home");
  readonly store = join(this.root, "store");
  serving!: Serving;
  #vms = 0;

  constructor() {
    mkdirSync(this.store, { mode: 0o700 });
  }

  /** Serves over TLS, and waits until the store is indexed as far as it can be now. */
  async serve(options: Partial<ServingOptions> = {}): Promise<Serving> {
    const home = join(this.root, "destination-home");
    this.serving = await startServing({ home, store: this.store, secure: true, ...options });
    if (options.secure !== false && options.index !== false) await this.indexed();
    return this.serving;
  }

  /** Waits for the end of the `count`-th scan of the store by this serve. */
  async indexed(count = 1): Promise<void> {
    const scans = () => this.serving.events.filter(({ event }) => event === "indexed").length;
    await until(() => scans() >= count, `${count} scans of the store`);
  }

  /** A VM of one disk at the source. */
  vm(content: Buffer, name = `vm${++this.#vms}`): { name: string; folder: string } {
    return { name, folder: this.#place(join(this.root, "source"), name, content, name) };
  }

  /** A VM of one disk in the destination's store, which was always there. */
  stored(name: string, content: Buffer): string {
    return join(this.#place(this.store, name, content, name), "disk.raw");
  }

  #place(parent: string, folderName: string, content: Buffer, name: string): string {
    const folder = join(parent, folderName);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "disk.raw"), content);
    const files = [{ kind: "disk", file: "disk.raw" }];
    writeFileSync(join(folder, "vm.json"), JSON.stringify({ format: "migrate-vm/1", name, files }));
    return folder;
  }

  /** Sends a VM, and sees that its bytes are there. */
  async send(
    vm: { name: string; folder: string },
    content: Buffer,
    options: Partial<SendingOptions> = {},
  ): Promise<Report> {
    const { address, ticket } = this.serving;
    const sent = await sendWhole({
      home: this.home,
      vm: { folder: vm.folder },
      address,
      ticket,
      secure: ticket !== undefined,
      ...options,
    });
    this.expectThere(vm.name, content);
    return sent;
  }

  expectThere(name: string, content: Buffer): void {
    expect(readFileSync(join(this.store, name, "disk.raw")).equals(content)).toBe(true);
  }

  /** What stands in the store under a name becomes what `send` would have made of it. */
  asMigrated(name: string): void {
    cpSync(join(this.store, name), join(this.store, `${name}.migrated`), { recursive: true });
    rmSync(join(this.store, name), { recursive: true });
  }

  async close(): Promise<void> {
    await stopServing();
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Writes over a part of a file, which then looks as old as before. */
export function overwriteUnseen(path: string, at: number, bytes: Buffer): void {
  const { atime, mtime } = statSync(path);
  const fd = openSync(path, "r+");
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
  utimesSync(path, atime, mtime);
}
