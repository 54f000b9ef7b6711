/**
 * One disk of a running VM, mirrored into the destination's by the source's QEMU while the guest keeps
 * writing (QEMU docs/interop/live-block-operations.rst; qapi/block-core.json, blockdev-mirror). The target is
 * an NBD server behind a unix socket that this program carries.
 */
import * as v from "valibot";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Qmp } from "../qmp/qmp.ts";
import { QmpError } from "../qmp/qmp-error.ts";
import { mirrorJobPrefix, mirrorNodePrefix } from "./roll-back.ts";

export interface MirrorProgress {
  /** Bytes that are there, of how many there are to be; both grow while the guest writes. */
  doneBytes: number;
  bytes: number;
}

const jobsSchema = v.array(v.object({ device: v.string(), offset: v.number(), len: v.number() }));

/** How long the destination may take for the NBD handshake: QEMU, and the guest in it, stands still meanwhile. */
const greetTimeoutMs = 10_000;
/** How long QEMU may take to end a job that was cancelled: it finishes the requests under way. */
const endTimeoutMs = 60_000;

export class DiskMirror {
  readonly number: number;
  readonly #qmp: Qmp;
  readonly #name: string;
  readonly #node: string;
  readonly #keepsRoom: boolean;
  readonly #target: string;
  readonly #job: string;
  #ready = Promise.withResolvers<void>();
  #isReady = false;
  /** Set while the job is ended only to begin anew. */
  #anew: PromiseWithResolvers<void> | undefined;
  #copyMode: "background" | "write-blocking" = "background";
  readonly #ended = Promise.withResolvers<void>();
  #isOver = false;
  /** True from the moment in which its end is asked for: an end before that is a failure. */
  #ending = false;
  #unlisten: (() => void) | undefined;

  /** True once the job has told that it could not read or write, and which of the two. */
  #troubleWith: "read" | "write" | undefined;

  /**
   * Takes the disk's number among those of the offer, its file's name there and the name of its uppermost node. `keepsRoom` is true if the
   * destination's image has its room beforehand, of which zeros are to take none away.
   */
  constructor(
    qmp: Qmp,
    number: number,
    { name, node, keepsRoom }: { name: string; node: string; keepsRoom: boolean },
  ) {
    this.#qmp = qmp;
    this.number = number;
    this.#name = name;
    this.#node = node;
    this.#keepsRoom = keepsRoom;
    this.#target = `${mirrorNodePrefix}${number}`;
    this.#job = `${mirrorJobPrefix}${number}`;
    this.#ready.promise.catch(() => {});
    this.#ended.promise.catch(() => {});
  }

  /**
   * Connects to the NBD server behind `socketPath` (export disk-N). QEMU stands still while it connects:
   * somebody must be taking the connection already. Throws QmpError.
   */
  async connect(socketPath: string): Promise<void> {
    this.#unlisten = this.#qmp.onEvent(({ event, data }) => {
      if (data.device === this.#job) this.#onEvent(event, data);
    });
    void this.#qmp.closed.then((why) => this.#fail(String(why.message)));
    const server = {
      driver: "nbd",
      server: { type: "unix", path: socketPath },
      export: `disk-${this.number}`,
    };
    // Zeros become holes there, unless there are to be none: the mirror lets its target unmap what it zeroes, and a node
    // above one that may not unmap takes that away (block/io.c, bdrv_co_pwrite_zeroes).
    const target = this.#keepsRoom
      ? { driver: "raw", "detect-zeroes": "on", file: { ...server, discard: "ignore" } }
      : { ...server, discard: "unmap", "detect-zeroes": "unmap" };
    const node = { "node-name": this.#target, ...target };
    await this.#qmp.execute("blockdev-add", node, { timeoutMs: greetTimeoutMs });
  }

  /** Begins to mirror, once connected. Throws QmpError. */
  async begin(): Promise<void> {
    await this.#qmp.execute("blockdev-mirror", {
      "job-id": this.#job,
      device: this.#node,
      target: this.#target,
      sync: "full",
      "copy-mode": this.#copyMode,
      "on-source-error": "report",
      "on-target-error": "report",
    });
  }

  /** Resolves once both disks are the same, and from then on stay so. Rejects with MigrateError "qemu-failed". */
  get ready(): Promise<void> {
    return this.#untilReady();
  }

  async #untilReady(): Promise<void> {
    let ready: PromiseWithResolvers<void>;
    do {
      ready = this.#ready;
      await ready.promise;
    } while (ready !== this.#ready);
  }

  /** True if it may still be told to `beginAnew`. */
  get mayBeginAnew(): boolean {
    return !this.#isReady && !this.#isOver && !this.#ending && this.#copyMode === "background";
  }

  /** True once both disks were the same. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** True while each write of the guest waits until it is at the destination as well. */
  get isBlocking(): boolean {
    return this.#copyMode === "write-blocking" && !this.#isOver;
  }

  /**
   * Begins once more, this time with the guest's writes waiting until they are at the destination as well, so that it
   * cannot write faster than the link carries. QEMU before 8.2 cannot change a job that runs. The job's end waits for what
   * is under way, for as long as the link takes; once `halted` resolves, nothing is waited for nor begun. Throws
   * QmpError, or what the mirror fails with.
   */
  async beginAnew(halted: Promise<void>): Promise<void> {
    const ended = Promise.withResolvers<void>();
    const before = this.#ready;
    this.#anew = ended;
    this.#copyMode = "write-blocking";
    this.#ready = Promise.withResolvers<void>();
    this.#ready.promise.catch(() => {});
    before.resolve();
    let isHalted = false;
    const halt = halted.then(() => {
      isHalted = true;
    });
    try {
      await this.#qmp.execute("block-job-cancel", { device: this.#job, force: true });
      await Promise.race([ended.promise, this.#ended.promise, halt]);
      this.#anew = undefined;
      if (!isHalted) await this.begin();
    } catch (thrown) {
      this.#fail((thrown as Error).message);
      throw thrown;
    }
  }

  /** Resolves once the mirror was ended; rejects if it broke off by itself. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Null if it is over. Throws QmpError. */
  async progress(): Promise<MirrorProgress | null> {
    const jobs = await this.#qmp.ask(jobsSchema, "query-block-jobs");
    const job = jobs.find(({ device }) => device === this.#job);
    return job === undefined ? null : { doneBytes: job.offset, bytes: job.len };
  }

  /** Ends a mirror that is ready, with both disks the same. Throws MigrateError "qemu-failed" if they are not. */
  async finish(): Promise<void> {
    this.#ending = true;
    // Cancelling a ready mirror without force ends it after a last flush, and leaves the guest on its own disk.
    if (!this.#isOver) await this.#qmp.execute("block-job-cancel", { device: this.#job });
    await withTimeout(this.#ended.promise, endTimeoutMs);
  }

  /** Closes the connection to the destination's disk. Throws QmpError. */
  async detach(): Promise<void> {
    this.#unlisten?.();
    await this.#qmp.execute("blockdev-del", { "node-name": this.#target });
  }

  #onEvent(event: string, data: Record<string, unknown>): void {
    if (event === "BLOCK_JOB_ERROR") {
      this.#troubleWith = data.operation === "read" ? "read" : "write";
    } else if (this.#anew !== undefined) {
      if (event !== "BLOCK_JOB_COMPLETED" && event !== "BLOCK_JOB_CANCELLED") return;
      // It may have failed in the moment in which it was to end.
      if (typeof data.error === "string") this.#fail(data.error);
      this.#anew.resolve();
    } else if (event === "BLOCK_JOB_READY") {
      this.#isReady = true;
      this.#ready.resolve();
    } else if (event === "BLOCK_JOB_COMPLETED" || event === "BLOCK_JOB_CANCELLED") {
      if (typeof data.error === "string") this.#fail(data.error);
      else if (this.#ending) this.#over();
      else this.#fail("it ended by itself");
    }
  }

  #over(): void {
    this.#isOver = true;
    this.#ended.resolve();
    this.#ready.reject(new MigrateError("cancelled", "the mirror was ended", { side: "source" }));
  }

  #fail(why: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const error = brokenOff(this.#name, why, this.#troubleWith);
    this.#ready.reject(error);
    this.#ended.reject(error);
  }
}

/** What QEMU makes of ENOSPC, of EDQUOT and of EFBIG (nbd/server.c, system_errno_to_nbd_errno). */
const noRoomText = "No space left on device";

/** The mirror reads from the disk here, and writes to the destination's. */
function brokenOff(disk: string, why: string, troubleWith: "read" | "write" | undefined): MigrateError {
  const hint = `QEMU says: ${why}`;
  if (troubleWith === "read")
    return new MigrateError("qemu-failed", `${disk} could not be read`, { side: "source", hint });
  if (why === noRoomText)
    return new MigrateError("no-room", `no room is left for ${disk} on the destination's disk`, {
      side: "destination",
      hint: "free some there, and run the same command again; the VM goes on here as before",
    });
  if (troubleWith === "write")
    return new MigrateError("qemu-failed", `${disk} could not be written at the destination`, {
      side: "destination",
      hint,
    });
  return new MigrateError("qemu-failed", `the mirror of ${disk} broke off`, { side: "source", hint });
}

async function withTimeout(promise: Promise<void>, timeoutMs: number): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new QmpError("silent", "QEMU does not end the mirror of a disk")),
    timeoutMs,
  );
  try {
    await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
