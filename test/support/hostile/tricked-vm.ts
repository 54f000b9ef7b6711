/**
 * A small VM that runs under QEMU on a source which trusts a destination that it should not. The VM runs its
 * firmware and nothing else; a monitor of the test's own sees it from outside.
 */
import { expect } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal, type SessionRecord } from "../../../src/migration/journal/journal.ts";
import type { QemuSpec } from "../../../src/migration/providers/qemu/leaving-qemu.ts";
import { type SendOptions, sendVm } from "../../../src/migration/source/send.ts";
import { asMigrateError, type MigrateError } from "../../../src/protocol/errors.ts";
import type { Qmp } from "../guests/qmp.ts";
import { callMonitor, statusOf } from "../guests/seen/monitor.ts";
import { type Child, startChild } from "../system/child.ts";
import { withDeadline } from "../system/deadline.ts";
import { until } from "../system/until.ts";
import { HostileDestination, type Script, takeChunks } from "./hostile-destination.ts";
import { makeIdentity } from "./hostile-ground.ts";
import type { RawIdentity } from "./raw/peer.ts";

export interface Trick {
  control: Script;
  stream: Script;
  /** Takes every chunk where it is absent. */
  lane?: Script;
}

export interface TrickedMove {
  error: MigrateError;
  record: SessionRecord | undefined;
  tookMs: number;
}

export interface TrickedVmOptions {
  /** With a disk that is mirrored; else with an image that is only read. */
  disk?: boolean;
}

export class TrickedVm {
  readonly folder = mkdtempSync(join(tmpdir(), "tricked-"));
  readonly home = join(this.folder, "home");
  readonly image = join(this.folder, "a.raw");
  readonly identity: RawIdentity;
  watch!: Qmp;
  readonly #content = Buffer.alloc(1024 * 1024, "tricked");
  #qemu!: Child;
  #hasEnded = false;
  #destination: HostileDestination | undefined;

  private constructor(identity: RawIdentity) {
    this.identity = identity;
  }

  /** Starts the VM, which runs when this resolves. */
  static async start({ disk = false }: TrickedVmOptions = {}): Promise<TrickedVm> {
    const vm = new TrickedVm(await makeIdentity());
    mkdirSync(vm.home, { mode: 0o700 });
    writeFileSync(vm.image, vm.#content);
    const served = (name: string) => `path=${join(vm.folder, name)},server=on,wait=off`;
    vm.#qemu = startChild([
      ...["qemu-system-x86_64", "-name", "guest=web1", "-machine", "pc", "-accel", "tcg", "-m", "16"],
      ...["-nodefaults", "-display", "none", "-qmp", `unix:${join(vm.folder, "qmp")},server=on,wait=off`],
      ...["-chardev", `socket,id=watch,${served("watch")}`, "-mon", "chardev=watch,mode=control"],
      ...["-drive", `file=${vm.image},format=raw,if=virtio${disk ? "" : ",readonly=on"}`],
    ]);
    void vm.#qemu.exit.then(() => {
      vm.#hasEnded = true;
    });
    vm.watch = await callMonitor(join(vm.folder, "watch"), () => !vm.#hasEnded);
    expect(await statusOf(vm.watch)).toBe("running");
    return vm;
  }

  /** Sends it to a destination that plays this; it must end with an error within half a minute. */
  async sendTo(
    trick: Trick,
    {
      compression = "auto",
      retryForMs = 500,
      ...vm
    }: Partial<QemuSpec & Pick<SendOptions, "compression" | "retryForMs">> = {},
  ): Promise<TrickedMove> {
    const { control, stream, lane = takeChunks } = trick;
    const destination = await HostileDestination.open({
      identity: this.identity,
      control,
      lane: async (visit) => await (visit.hello.role === "stream" ? stream : lane)(visit),
    });
    this.#destination = destination;
    const begunMs = performance.now();
    const moving = sendVm(
      {
        home: this.home,
        vm: {
          qmp: join(this.folder, "qmp"),
          live: true,
          downtimeLimitMs: 300,
          autoConverge: false,
          channels: 0,
          workers: 1,
          stallLimits: { stoppedMs: 500, runningMs: 1_500 },
          ...vm,
        },
        address: destination.address,
        ticket: destination.ticket,
        lanes: 1,
        compression,
        after: "delete",
        copy: false,
        retryForMs,
        insecure: false,
        passphrase: () => Promise.reject(new Error("there is no passphrase in this test")),
        signal: new AbortController().signal,
        timing: { pingMs: 100, silenceMs: 2_000, answerMs: 500 },
        guard: () => async () => {},
      },
      () => {},
    );
    const error = await withDeadline(
      moving.then(
        () => new Error("it was moved"),
        (thrown: unknown) => asMigrateError(thrown),
      ),
      30_000,
      "the end of the move",
    );
    const tookMs = performance.now() - begunMs;
    const journal = Journal.open(this.home);
    const [record] = journal.all("source");
    journal.close();
    if (!("code" in error)) throw error;
    return { error: error as MigrateError, record, tookMs };
  }

  async status(): Promise<string> {
    return await statusOf(this.watch);
  }

  /** The VM runs on, nothing of the move is left in QEMU, and its file is as it was. */
  async expectRunning(): Promise<void> {
    await until(async () => (await this.status()) === "running", "the VM to run");
    expect(await this.watch.execute("query-block-jobs")).toEqual([]);
    const nodes = (await this.watch.execute("query-named-block-nodes")) as { "node-name": string }[];
    expect(nodes.filter((node) => node["node-name"].startsWith("migrate-"))).toEqual([]);
    this.expectFile();
  }

  expectFile(): void {
    expect(readFileSync(this.image).equals(this.#content)).toBe(true);
  }

  async close(): Promise<void> {
    await this.#destination?.close();
    this.watch?.close();
    this.#qemu.signal("SIGKILL");
    await this.#qemu.exit;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
