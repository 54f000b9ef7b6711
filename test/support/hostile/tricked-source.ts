/** A source in a folder of its own that trusts a destination which it should not. */
import { expect } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal, type SessionRecord } from "../../../src/migration/journal/journal.ts";
import type { MigrationEvent } from "../../../src/migration/report/events.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import { hashOf, makeSmallVm } from "../files/small-vm.ts";
import { type SendingOptions, sendOnce } from "../moves/sending.ts";
import { HostileDestination, type HostileDestinationOptions, type Script } from "./hostile-destination.ts";
import { makeIdentity } from "./hostile-ground.ts";
import type { RawIdentity } from "./raw/peer.ts";

export interface TrickOptions extends Partial<SendingOptions>, Pick<HostileDestinationOptions, "lane"> {
  /** The test itself changes the VM's files. */
  filesMayChange?: boolean;
  /** Called with the source's home before anything is sent. */
  prepare?: (home: string) => unknown;
}

export interface Tricked {
  error: MigrateError;
  events: MigrationEvent[];
  /** The session as the source's journal has it; undefined where no destination has heard of it. */
  record: SessionRecord | undefined;
  home: string;
  destination: HostileDestination;
}

export class TrickedSource {
  /** Everything lies below this. */
  readonly root: string = mkdtempSync(join(tmpdir(), "migrate-hostile-"));
  /** The hostile destination's. */
  readonly identity: RawIdentity;
  #count = 0;
  readonly #open: HostileDestination[] = [];

  private constructor(identity: RawIdentity) {
    this.identity = identity;
  }

  static async make(): Promise<TrickedSource> {
    return new TrickedSource(await makeIdentity());
  }

  async openDestination(options: HostileDestinationOptions): Promise<HostileDestination> {
    const destination = await HostileDestination.open(options);
    this.#open.push(destination);
    return destination;
  }

  /** Sends a VM to a destination with this script. The VM's files must be as they were, whatever comes of it. */
  async sendTo(
    control: Script,
    { lane, filesMayChange = false, prepare, ...options }: TrickOptions = {},
  ): Promise<Tricked> {
    const { identity } = this;
    const destination = await this.openDestination({ identity, control, ...(lane ? { lane } : {}) });
    const folder = join(this.root, `source-${++this.#count}`);
    mkdirSync(folder);
    const home = join(folder, "home");
    const vm = makeSmallVm(join(folder, `vm${this.#count}`));
    await prepare?.(home);
    const { error, done, events } = await sendOnce({
      home,
      vm: vm.spec,
      address: destination.address,
      ticket: destination.ticket,
      retryForMs: 700,
      after: "delete",
      ...options,
    });
    expect(done).toBeUndefined();
    for (const { path, hash } of filesMayChange ? [] : vm.files) expect(hashOf(path)).toBe(hash);
    const journal = Journal.open(home);
    const record = journal.all("source")[0];
    journal.close();
    return { error: error!, events, record, home, destination };
  }

  /**
   * As `sendTo`, where the source must end with this code and sentence, still own the VM, and say
   * nothing that is unfit for a terminal.
   */
  async expectOwner(
    control: Script,
    code: string,
    message: string | RegExp,
    options: TrickOptions = {},
  ): Promise<MigrateError> {
    const { error, record } = await this.sendTo(control, options);
    expect(error.code as string).toBe(code);
    if (typeof message === "string") expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/[\p{Cc}\u2028-\u202e\u2066-\u2069]/u);
    expect(error.message.length).toBeLessThan(2000);
    expect([undefined, "sending"]).toContain(record?.state as string | undefined);
    return error;
  }

  /** Closes the destinations: for `afterEach`. */
  async leave(): Promise<void> {
    for (const destination of this.#open.splice(0)) await destination.close();
  }

  async close(): Promise<void> {
    await this.leave();
    rmSync(this.root, { recursive: true, force: true });
  }
}
