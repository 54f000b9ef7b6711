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
/** As many MiB a second as libvirt takes for a limit (libvirt's qemu_conf.h, QEMU_DOMAIN_MIG_BANDWIDTH_MAX). */
const mostMibPerSec = "8796093022207";
/** How often, and after how many milliseconds each, it is asked whether an aborted migration is over. */
const mostTries = 150;
const betweenTriesMs = 100;
/** How long libvirt may take to notice that the domain's QEMU has ended. */
const noticeMs = 3000;
/** How long libvirt is left alone with a migration that it is to break off, in milliseconds: the domain may stand still. */
const blockedMs = 2000;

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
  /** The domain's own limit in MiB a second before this command changed it; undefined if it has not. */
  #speedBefore: string | undefined;
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
      ...(bandwidthBytesPerSec === null ? [] : ["--bandwidth", mibPerSec(bandwidthBytesPerSec)]),
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
        await this.#virsh.ask(this.#downtimeWords(this.#downtimeLimitMs));
      }
      return figuresIn(said);
    } catch {
      return null;
    } finally {
      this.#asking = false;
    }
  }

  /**
   * Changes the migration on its way; nothing if it was not started. Throws MigrateError "policy" for what libvirt does
   * not change (virsh(1): migrate-setspeed, migrate-setmaxdowntime), and as `Virsh.run`.
   */
  async tune({
    bandwidthBytesPerSec,
    downtimeLimitMs,
    autoConverge,
  }: Partial<MigrateOptions>): Promise<void> {
    if (this.#ended === undefined) return;
    if (autoConverge !== undefined) {
      throw new MigrateError("policy", "libvirt switches auto-converge only as a migration begins", {
        side: this.#virsh.side,
        hint: "Change the bandwidth or the downtime limit, or give the move up and send it again.",
      });
    }
    if (downtimeLimitMs !== undefined) {
      await this.#virsh.run(this.#downtimeWords(downtimeLimitMs));
      this.#downtimeLimitMs = downtimeLimitMs;
      this.#limited = true;
    }
    if (bandwidthBytesPerSec !== undefined) {
      this.#speedBefore ??= (await this.#virsh.run(["migrate-getspeed", "--domain", this.#uuid])).trim();
      await this.#setSpeed(bandwidthBytesPerSec === null ? mostMibPerSec : mibPerSec(bandwidthBytesPerSec));
    }
  }

  /** Stops the domain where it is: its migration then gets done. Throws as `Virsh.run`. */
  async stopDomain(): Promise<void> {
    const nowMs = performance.now();
    await this.#virsh.run(["suspend", "--domain", this.#uuid]);
    this.stoppedAtMs ??= nowMs;
  }

  #downtimeWords(limitMs: number): string[] {
    return ["migrate-setmaxdowntime", "--domain", this.#uuid, String(limitMs)];
  }

  async #setSpeed(speed: string): Promise<void> {
    await this.#virsh.run(["migrate-setspeed", "--domain", this.#uuid, "--bandwidth", speed]);
  }

  /**
   * Breaks it off; resolves once libvirt has said so, or too long was waited for that: then nobody waits for it any more.
   * `unblock` is called when it is over, and before that if it is not after a while: it takes away what QEMU or libvirtd
   * may wait for, and is idempotent. So is this; it never throws.
   */
  async abort(unblock: () => void = () => {}): Promise<void> {
    const timer = setTimeout(unblock, blockedMs);
    await this.#abort();
    clearTimeout(timer);
    unblock();
  }

  async #abort(): Promise<void> {
    if (this.#ended === undefined) return;
    for (let tries = 0; !this.#isOver && tries < mostTries; tries++) {
      await this.#virsh.ask(["domjobabort", "--domain", this.#uuid]).catch(() => {});
      await Promise.race([this.#ended.catch(() => {}), Bun.sleep(betweenTriesMs)]);
    }
    this.#given.abort();
    await this.#ended.catch(() => {});
    await this.#restoreSpeed();
  }

  /** The same where the domain's QEMU has ended, which libvirt may never notice in the middle of a move. */
  async abandon(): Promise<void> {
    if (this.#ended === undefined) return;
    await Promise.race([this.#ended.catch(() => {}), Bun.sleep(noticeMs)]);
    this.#given.abort();
    await this.#ended.catch(() => {});
    await this.#restoreSpeed();
  }

  /** The domain's own limit outlives a migration that is broken off. Never throws. */
  async #restoreSpeed(): Promise<void> {
    const before = this.#speedBefore;
    this.#speedBefore = undefined;
    if (before !== undefined && /^\d{1,20}$/.test(before)) await this.#setSpeed(before).catch(() => {});
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

function mibPerSec(bandwidthBytesPerSec: number): string {
  return String(Math.max(1, Math.floor(bandwidthBytesPerSec / mib)));
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

/** The error if libvirtd did not wait for the answer to its last call. Pure. */
export function notHeld(name: string): MigrateError {
  return new MigrateError("libvirt-failed", `libvirt let ${name} go on before the move was decided`, {
    side: "source",
  });
}
