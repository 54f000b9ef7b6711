/**
 * `virsh migrate` of one domain, peer to peer over unix sockets, and what libvirt says of it meanwhile (virsh(1), migrate,
 * domjobinfo, event). The domain arrives paused, and is forgotten here once it is let go.
 */
import { MigrateError } from "../../protocol/errors.ts";
import type { Virsh } from "./virsh.ts";

export interface MigrateOptions {
  /** Where libvirtd finds what it takes for the other libvirtd. */
  rpcPath: string;
  ramPath: string;
  /** Where QEMU finds the disks to mirror to; absent if none are. */
  diskPath: string | undefined;
  targets: readonly string[];
  autoConverge: boolean;
  downtimeLimitMs: number;
  bandwidthBytesPerSec: number | null;
}

export interface MigrationFigures {
  ram: {
    iteration: number;
    remainingBytes: number;
    transferredBytes: number;
    totalBytes: number;
    dirtyBytesPerSec: number;
    bandwidthBytesPerSec: number;
    expectedDowntimeMs: number;
    throttlePercent: number;
  };
  /** Of all disks together. */
  diskDoneBytes: number;
  diskTotalBytes: number;
}

const mib = 2 ** 20;
/** How often, and after how many milliseconds each, it is asked whether an aborted migration is over. */
const mostTries = 150;
const betweenTriesMs = 100;
/** How long libvirt may take to notice that the domain's QEMU has ended. */
const noticeMs = 3000;

export class MigrateCommand {
  readonly #virsh: Virsh;
  readonly #uuid: string;
  #watching: ReturnType<Virsh["start"]> | undefined;
  #ended: Promise<void> | undefined;
  #isOver = false;
  readonly #given = new AbortController();
  #asking = false;
  #limited = false;
  #downtimeLimitMs = 0;
  /** When libvirt stopped the domain for the switchover, on the monotonic clock. */
  stoppedAtMs: number | undefined;

  constructor(virsh: Virsh, uuid: string) {
    this.#virsh = virsh;
    this.#uuid = uuid;
  }

  /** Starts it. Resolves, as `ended` does, once the domain is gone here; throws MigrateError "libvirt-failed". */
  start(options: MigrateOptions): Promise<void> {
    const { rpcPath, ramPath, diskPath, targets, autoConverge, bandwidthBytesPerSec } = options;
    this.#downtimeLimitMs = options.downtimeLimitMs;
    const words = [
      ...["migrate", "--live", "--p2p", "--suspend", "--undefinesource"],
      ...(diskPath === undefined
        ? []
        : ["--copy-storage-all", "--migrate-disks", targets.join(","), "--disks-uri", `unix://${diskPath}`]),
      ...(autoConverge ? ["--auto-converge"] : []),
      ...(bandwidthBytesPerSec === null
        ? []
        : ["--bandwidth", String(Math.max(1, Math.floor(bandwidthBytesPerSec / mib)))]),
      ...["--domain", this.#uuid, "--desturi", `qemu+unix:///system?socket=${rpcPath}`],
      ...["--migrateuri", `unix://${ramPath}`],
    ];
    const events = ["event", "--domain", this.#uuid, "--event", "lifecycle", "--loop"];
    this.#watching = this.#virsh.start(events, { endsWithParent: true });
    void this.#watch(this.#watching.stdout);
    this.#ended = this.#virsh
      .run(words, { timeoutMs: Number.POSITIVE_INFINITY, signal: this.#given.signal })
      .then(() => {})
      .finally(() => {
        this.#isOver = true;
        this.#watching?.kill("SIGKILL");
      });
    this.#ended.catch(() => {});
    return this.#ended;
  }

  /** libvirt is done with it, for good or bad. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** As `start`. Throws MigrateError "bug" if it was not started. */
  get ended(): Promise<void> {
    return this.#ended ?? Promise.reject(new MigrateError("bug", "the migration was not started"));
  }

  /** libvirt's figures; null while it has none, or has not answered an earlier question. Never throws. */
  async progress(): Promise<MigrationFigures | null> {
    if (this.#asking || this.#isOver) return null;
    this.#asking = true;
    try {
      const said = await this.#virsh.run(["domjobinfo", "--domain", this.#uuid, "--rawstats"]);
      if (!this.#limited) {
        this.#limited = true;
        await this.#virsh.ask([
          "migrate-setmaxdowntime",
          "--domain",
          this.#uuid,
          String(this.#downtimeLimitMs),
        ]);
      }
      return figuresIn(said);
    } catch {
      return null;
    } finally {
      this.#asking = false;
    }
  }

  /**
   * Breaks it off; resolves once libvirt has said so, or too long was waited for that: then nobody waits for it any more.
   * Idempotent; never throws.
   */
  async abort(): Promise<void> {
    if (this.#ended === undefined) return;
    for (let tries = 0; !this.#isOver && tries < mostTries; tries++) {
      await this.#virsh.ask(["domjobabort", "--domain", this.#uuid]).catch(() => {});
      await Promise.race([this.#ended.catch(() => {}), Bun.sleep(betweenTriesMs)]);
    }
    this.#given.abort();
    await this.#ended.catch(() => {});
  }

  /** The same where the domain's QEMU has ended, which libvirt may never notice in the middle of a move. */
  async abandon(): Promise<void> {
    if (this.#ended === undefined) return;
    await Promise.race([this.#ended.catch(() => {}), Bun.sleep(noticeMs)]);
    this.#given.abort();
    await this.#ended.catch(() => {});
  }

  async #watch(events: ReadableStream<Uint8Array>): Promise<void> {
    const text = new TextDecoder();
    let last = "";
    for await (const piece of events) {
      last = `${last}${text.decode(piece, { stream: true })}`.slice(-4096);
      if (/Suspended Migrated/.test(last)) this.stoppedAtMs ??= performance.now();
      if (/Resumed/.test(last)) this.stoppedAtMs = undefined;
      last = last.slice(last.lastIndexOf("\n") + 1);
    }
  }
}

/** True while libvirt moves the domain to another host, whoever told it to. Throws MigrateError as `Virsh.run`. */
export async function outgoingMigration(virsh: Virsh, uuid: string): Promise<boolean> {
  const said = await virsh.find(["domjobinfo", "--domain", uuid]);
  return said !== null && /^Operation:\s+Outgoing migration/m.test(said);
}

/** Reads `domjobinfo --rawstats`: a name and a number a line (libvirt-domain.h, VIR_DOMAIN_JOB_*). Null without figures. */
export function figuresIn(text: string): MigrationFigures | null {
  const said = new Map(
    text.split("\n").flatMap((line): [string, number][] => {
      const found = /^\s*([a-z_]+):\s*(\d+)\s*$/.exec(line);
      return found === null ? [] : [[found[1]!, Number(found[2])]];
    }),
  );
  const of = (name: string) => said.get(name) ?? 0;
  if (!said.has("memory_total")) return null;
  return {
    ram: {
      iteration: of("memory_iteration"),
      remainingBytes: of("memory_remaining"),
      transferredBytes: of("memory_processed"),
      totalBytes: of("memory_total"),
      dirtyBytesPerSec: of("memory_dirty_rate") * (of("memory_page_size") || 4096),
      bandwidthBytesPerSec: of("memory_bps"),
      expectedDowntimeMs: of("downtime"),
      throttlePercent: of("auto_converge_throttle"),
    },
    diskDoneBytes: of("disk_processed"),
    diskTotalBytes: of("disk_total"),
  };
}
