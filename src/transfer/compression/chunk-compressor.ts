/** Compresses the bodies of one lane's chunks, each at the level that suits the lane at the moment. */
import { type Compression, highestLevel } from "./compression.ts";
import { CompressionChoice, dearLevel } from "./compression-choice.ts";
import { IdleShare } from "./idle-share.ts";
import { LevelTable } from "./level-table.ts";
import { LinkEstimate } from "./link-estimate.ts";

const mebibyte = 1024 * 1024;
/** What must be left of a body at most for its frame to be worth decompressing. */
const worthPart = 0.97;
/** The samples that tell whether a body shrinks at all: three of 8 KiB. */
const checkBytes = 8 * 1024;
/** The sample that tells what level 1 does to a body. */
const learnBytes = 64 * 1024;
/** A body of a page or two does not repay the work, and would distort what is known of the levels. */
const leastBodyBytes = 8 * 1024;

/** Known pages of 1 MiB are found within 0.7 ms: on a link that takes several times as long, looking costs nothing. */
const findingMsPerMiB = 4;

/** What compresses: one zstd frame that declares its content size (RFC 8878). */
export type Engine = (data: Buffer, level: number) => Buffer;
const zstd: Engine = (data, level) => Bun.zstdCompressSync(data, { level });

/** What a compressor measures with; a test brings its own. */
export interface CompressorTools {
  nowMs?: () => number;
  engine?: Engine;
  /** The highest level that "auto" may choose. */
  mostLevel?: number;
  /** See CompressionChoice. */
  idleShare?: (nowMs: number) => number | null;
}

export class ChunkCompressor {
  readonly #setting: Compression;
  readonly #nowMs: () => number;
  readonly #engine: Engine;
  readonly #link = new LinkEstimate();
  readonly #choice: CompressionChoice;

  /** One for each lane: lanes that share a link see their share of it, and come to the same level. */
  constructor(
    setting: Compression,
    { nowMs, engine, mostLevel = highestLevel, idleShare }: CompressorTools = {},
  ) {
    if (
      typeof setting === "number" &&
      !(Number.isInteger(setting) && setting >= 1 && setting <= highestLevel)
    ) {
      throw new RangeError(`there is no level ${setting}`);
    }
    this.#setting = setting;
    this.#nowMs = nowMs ?? (() => performance.now());
    this.#engine = engine ?? zstd;
    const idle = new IdleShare();
    this.#choice = new CompressionChoice(
      this.#link,
      new LevelTable(),
      idleShare ?? ((nowMs) => idle.since(nowMs)),
      mostLevel,
    );
  }

  /** True while the link takes much longer than finding what need not be sent; always at a fixed level. */
  get isLinkSlow(): boolean {
    if (this.#setting !== "auto") return this.#setting !== "off";
    return this.#link.periods > 0 && (this.#link.wireMsPerMiB ?? 0) >= findingMsPerMiB;
  }

  /**
   * True also while the link is unknown and no acknowledgement so far shows it to be fast: what is sent now may
   * be repeated once the link has turned out to be slow.
   */
  get mayLinkBeSlow(): boolean {
    if (this.isLinkSlow) return true;
    const isUnknown = this.#setting === "auto" && this.#link.periods === 0;
    return isUnknown && this.#link.shownMsPerMiB() >= findingMsPerMiB;
  }

  /**
   * The zstd frame for this body, or null if it is to be sent as it is, among others because compressing
   * leaves more than 97 % of it. `body` is not kept; if it was shortened before, `wholeBytes` is
   * how long it was. Every body that a CHUNK carries must come by here, in the order in which they are sent.
   */
  compress(body: Buffer, wholeBytes: number = body.length): Buffer | null {
    const setting = this.#setting;
    if (setting === "off") return null;
    if (typeof setting === "number") return this.#fixed(body, setting);
    const beganMs = this.#nowMs();
    this.#link.closePeriod(beganMs, this.#choice.forget);
    const frame = body.length < leastBodyBytes ? null : this.#auto(body, beganMs);
    const nowMs = this.#nowMs();
    this.#link.sent(nowMs, wholeBytes, frame?.length ?? body.length, nowMs - beganMs);
    return frame;
  }

  /**
   * The lane waited for the other side or for the link for so long: its window was full, the socket
   * took no more, or the pacer held it back.
   */
  waited(ms: number): void {
    if (this.#setting === "auto") this.#link.waited(ms);
  }

  /** The lane had nothing to do for so long. */
  rested(ms: number): void {
    if (this.#setting === "auto") this.#link.rested(ms);
  }

  /**
   * So many bytes of CHUNK frames were acknowledged, of which each body came by `compress`; the wait
   * that ends with them is reported afterwards, by `waited`.
   */
  acknowledged(wireBytes: number): void {
    if (this.#setting === "auto") this.#link.acknowledged(this.#nowMs(), wireBytes);
  }

  #fixed(body: Buffer, level: number): Buffer | null {
    if (body.length < leastBodyBytes || (level >= dearLevel && !this.#shrinks(body))) return null;
    return worthwhile(this.#engine(body, level), body);
  }

  #auto(body: Buffer, beganMs: number): Buffer | null {
    let plan = this.#choice.plan(beganMs);
    if (plan.sample === "learn") {
      this.#learn(body, beganMs);
      plan = this.#choice.plan(beganMs);
    }
    const { level, sample } = plan;
    if (level === 0) return null;
    if (sample === "check" && !this.#shrinks(body)) {
      this.#choice.incompressible(this.#nowMs() - beganMs);
      return null;
    }
    const fromMs = this.#nowMs();
    const frame = this.#engine(body, level);
    const ms = this.#nowMs() - fromMs;
    this.#choice.compressed(level, frame.length / body.length, ms, body.length / mebibyte);
    return worthwhile(frame, body);
  }

  #learn(body: Buffer, beganMs: number): void {
    const from = Math.max(0, Math.floor((body.length - learnBytes) / 2));
    const sample = body.subarray(from, from + learnBytes);
    const frame = this.#engine(sample, 1);
    const ms = this.#nowMs() - beganMs;
    this.#choice.sampled(beganMs, frame.length / sample.length, ms, ms / (sample.length / mebibyte));
  }

  /** Three samples at level 1 leave less than 95 % of themselves. A body that shrinks in between only is missed. */
  #shrinks(body: Buffer): boolean {
    let left = 0;
    let taken = 0;
    for (const place of [0.1, 0.5, 0.9]) {
      const from = Math.floor((body.length - checkBytes) * place);
      const sample = body.subarray(from, from + checkBytes);
      left += this.#engine(sample, 1).length;
      taken += sample.length;
    }
    return left <= 0.95 * taken;
  }
}

function worthwhile(frame: Buffer, body: Buffer): Buffer | null {
  return frame.length <= worthPart * body.length ? frame : null;
}
