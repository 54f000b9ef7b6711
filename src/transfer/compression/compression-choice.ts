/**
 * Decides for each chunk whether it is compressed, and at which level. Pure: no clock, no randomness.
 *
 * A lane's thread and the link work side by side, so a chunk takes as long as the slower of them: the
 * thread's own work and compressing on the one side, the bytes that are left on the other. If the
 * link is slow, the level that makes both alike is the best; if it is fast, none is.
 *
 * Levels that were not seen yet are tried on whole chunks, seldom, and only while the lane waits for
 * the link: its thread has time to spare then, so trying costs next to nothing.
 */
import { type Level, type LevelTable, levels } from "./level-table.ts";
import type { LinkEstimate } from "./link-estimate.ts";

export interface Plan {
  /** 0: as it is. */
  level: Level | 0;
  /**
   * "check": a few small samples are compressed first, and the chunk is sent as it is if they do not shrink.
   * "learn": one larger sample at level 1 first, whose result `sampled` takes; then `plan` is asked again.
   */
  sample: "none" | "check" | "learn";
}

/** Compressing begins once it leaves at most the first part of a chunk's time, and ends once it leaves more than the second. */
const worthBeginning = 0.93;
const worthGoingOn = 0.97;
/** A level is given up for one that leaves at most this part of a chunk's time. */
const worthChanging = 0.985;
/** A level whose work alone takes longer than so many times what a chunk takes now is not tried. */
const worthTrying = 1.5;
/** What may be spent on compressing before anything is known of the link. */
const blindMs = 6;
/** A wait that tells, before the first period is over, that the link is not fast. */
const tellingWaitMs = 5;
/** A sample is taken when this many times its cost went by: 0.4 % of the time, or 2 % if the link is slow. */
const samplePause = { fast: 250, slow: 50 };
/** What 1 MiB takes on such a link: many times the thread's own work, which has time to spare then. */
const slowMsPerMiB = 4;
/** Chunks between two attempts at another level. */
const attemptPause = 16;
/** A level is known when it was seen so often, and tried again after so many chunks. */
const seenEnough = 3;
const staleChunks = 256;
/** From here on a chunk that does not shrink is expensive to find out about by compressing it. */
export const dearLevel = 10;
/** On a link that takes longer for 1 MiB, the lanes leave the processors idle anyway. */
const unhurriedMsPerMiB = 20;
/** Milliseconds that encrypting and writing 1 MiB take: what bytes that are left out save the thread. */
const writingMsPerMiB = 0.4;
/** Weight of a chunk, and of a sample, in the part of the data that does not shrink. */
const stubbornWeight = { chunk: 1 / 16, sample: 1 / 4 };
/**
 * While it is in doubt whether the link is what holds the lane up, the time without compressing is measured and
 * not estimated: after the first pause, then ever more seldom, and each time for no longer than a spell.
 */
const doubt = { firstPauseMs: 1000, longestPauseMs: 60_000, spellMs: 2000 };
/** Part of the machine's processors that must be idle for compressing to begin on a fast link. */
const idleEnough = 0.2;

export class CompressionChoice {
  readonly #link: LinkEstimate;
  readonly #table: LevelTable;
  readonly #idleShare: (nowMs: number) => number | null;
  readonly #levels: readonly Level[];
  #mode: "blind" | "raw" | "compressed" = "blind";
  #level: Level = 1;
  #blindSpentMs = 0;
  #nextSampleMs = 0;
  #sampledPart = 1;
  #shrinks = true;
  /** The part of the data, lately, that does not shrink and goes out as it is. */
  #stubborn = 0;
  #sinceAttempt = 0;
  #attempt = 0;
  #isSpell = false;
  #spellAtMs = -Infinity;
  #doubtPauseMs = doubt.firstPauseMs;
  readonly #lastTried = new Map<Level, number>();
  #chunks = 0;

  /**
   * `idleShare` returns the part of the machine's processor time, 0 to 1, that nobody used since it was
   * asked before, or null if it cannot tell yet. It is asked only if the answer decides. No level
   * above `highestLevel` is chosen.
   */
  constructor(
    link: LinkEstimate,
    table: LevelTable,
    idleShare: (nowMs: number) => number | null,
    highestLevel: number,
  ) {
    this.#link = link;
    this.#table = table;
    this.#idleShare = idleShare;
    this.#levels = levels.filter((level) => level <= highestLevel);
  }

  /** How quickly the link's rate may be forgotten while it does not show: see LinkEstimate. */
  get forget(): "quickly" | "slowly" {
    return this.#mode === "compressed" && this.#level > 1 ? "quickly" : "slowly";
  }

  /** What is to be done with the next chunk. The estimate must know of every wait until now. */
  plan(nowMs: number): Plan {
    if (this.#mode === "blind") {
      const plan = this.#blind(nowMs);
      if (plan) return plan;
    }
    return this.#mode === "raw" ? this.#planRaw(nowMs) : this.#planCompressed(nowMs);
  }

  /** The sample of a plan that said "learn": the part that was left, its cost, and the cost for 1 MiB. */
  sampled(nowMs: number, part: number, ms: number, msPerMiB: number): void {
    const pace = (this.#link.wireMsPerMiB ?? 0) < slowMsPerMiB ? "fast" : "slow";
    this.#nextSampleMs = nowMs + ms * samplePause[pace];
    this.#sampledPart = part;
    this.#stubborn += stubbornWeight.sample * ((part <= 0.95 ? 0 : 1) - this.#stubborn);
    if (part <= 0.95) this.#table.sampled(part, msPerMiB);
  }

  /** A chunk, or a piece of so many MiB, was compressed at the level that was planned; `part` is what it left. */
  compressed(level: Level, part: number, ms: number, mebibytes: number): void {
    this.#chunks++;
    this.#blindSpentMs += ms;
    this.#lastTried.set(level, this.#chunks);
    this.#passed(part <= 0.97);
    // What does not shrink says nothing about what does.
    if (this.#shrinks) this.#table.compressed(level, part, ms / mebibytes, mebibytes);
  }

  /** The samples of a plan that said "check" did not shrink; what they cost. */
  incompressible(ms: number): void {
    this.#chunks++;
    this.#blindSpentMs += ms;
    this.#passed(false);
  }

  #passed(shrinks: boolean): void {
    this.#shrinks = shrinks;
    this.#stubborn += stubbornWeight.chunk * ((shrinks ? 0 : 1) - this.#stubborn);
  }

  /** Until the first period is over nothing is known; level 1 for a few chunks is the cheaper error. */
  #blind(nowMs: number): Plan | undefined {
    if (this.#link.periods === 0) {
      const fast = this.#link.shownMsPerMiB() < unhurriedMsPerMiB;
      const slow = this.#link.waitedMs >= tellingWaitMs || this.#blindSpentMs < blindMs;
      return slow && !fast ? { level: 1, sample: "check" } : { level: 0, sample: "none" };
    }
    this.#mode = this.#link.wireMsPerMiB !== null && this.#isWorthBeginning(nowMs) ? "compressed" : "raw";
    return undefined;
  }

  #planRaw(nowMs: number): Plan {
    if (this.#isInSpell(nowMs)) return { level: 0, sample: "none" };
    const wireMs = this.#link.wireMsPerMiB;
    if (wireMs === null || wireMs <= this.#link.otherMsPerMiB) return { level: 0, sample: "none" };
    if (nowMs >= this.#nextSampleMs) return { level: 0, sample: "learn" };
    if (this.#sampledPart > 0.95) return { level: 0, sample: "none" };
    const isWorthIt = this.#isWorthBeginning(nowMs);
    // One sample, one decision: the next has to wait for the next.
    if (isWorthIt !== null) this.#sampledPart = 1;
    if (!isWorthIt) return { level: 0, sample: "none" };
    this.#mode = "compressed";
    this.#shrinks = true;
    return { level: this.#level, sample: "none" };
  }

  /** Compressing, at the level that is the best and then the present one, would make chunks faster; null: soon known. */
  #isWorthBeginning(nowMs: number): boolean | null {
    this.#level = this.#best(nowMs);
    if (this.#time(this.#level, nowMs) >= worthBeginning * this.#rawTime()) return false;
    if ((this.#link.wireMsPerMiB ?? 0) >= unhurriedMsPerMiB) return true;
    // If the processors are what everything waits for, a lane waits just as it does for a link.
    const idle = this.#idleShare(nowMs);
    return idle === null ? null : idle >= idleEnough;
  }

  /** True until the time without compressing has been seen, or was waited for in vain. */
  #isInSpell(nowMs: number): boolean {
    const isSeen = (this.#link.asItIs?.atMs ?? -Infinity) > this.#spellAtMs;
    this.#isSpell &&= !isSeen && nowMs - this.#spellAtMs < doubt.spellMs;
    return this.#isSpell;
  }

  #isTimeForSpell(nowMs: number): boolean {
    const lastMs = Math.max(this.#link.asItIs?.atMs ?? -Infinity, this.#spellAtMs);
    if (!this.#link.isInDoubt || nowMs - lastMs <= this.#doubtPauseMs) return false;
    this.#doubtPauseMs = Math.min(doubt.longestPauseMs, this.#doubtPauseMs * 4);
    this.#isSpell = true;
    this.#spellAtMs = nowMs;
    return true;
  }

  #planCompressed(nowMs: number): Plan {
    const best = this.#best(nowMs);
    if (this.#isTimeForSpell(nowMs) || this.#time(best, nowMs) >= worthGoingOn * this.#rawTime()) {
      this.#mode = "raw";
      this.#sampledPart = 1;
      return { level: 0, sample: "none" };
    }
    this.#level = best;
    const level = this.#worthTrying(nowMs) ?? best;
    return { level, sample: this.#shrinks && level < dearLevel ? "none" : "check" };
  }

  /** The level to try on this chunk in place of the best: one that is little known, and free. */
  #worthTrying(nowMs: number): Level | undefined {
    if (++this.#sinceAttempt < attemptPause || !this.#shrinks || !this.#link.waiting) return undefined;
    this.#sinceAttempt = 0;
    const mostMs = worthTrying * this.#time(this.#level, nowMs);
    for (let i = 0; i < this.#levels.length; i++) {
      const level = this.#levels[this.#attempt++ % this.#levels.length]!;
      const old = this.#chunks - (this.#lastTried.get(level) ?? 0) > staleChunks;
      if (level === this.#level || (this.#table.seen(level) >= seenEnough && !old)) continue;
      if (this.#table.msPerMiB(level) < mostMs) return level;
    }
    return undefined;
  }

  #rawTime(): number {
    const { otherMsPerMiB, wireMsPerMiB, lastPart, isInDoubt, asItIs } = this.#link;
    const wireMs = wireMsPerMiB ?? 0;
    const seenMs = isInDoubt && asItIs !== null ? Math.min(wireMs, asItIs.msPerMiB) : wireMs;
    return Math.max(otherMsPerMiB + writingMsPerMiB * (1 - lastPart), seenMs);
  }

  /**
   * Milliseconds for 1 MiB of the data as it is mixed lately, at this level. The thread and the link
   * are each taken over the mixture: while the link is at a chunk that did not shrink, the thread
   * compresses the next.
   */
  #time(level: Level, nowMs: number): number {
    const { otherMsPerMiB, wireMsPerMiB, lastPart } = this.#link;
    const shrinking = 1 - this.#stubborn;
    const part = this.#stubborn + shrinking * this.#table.part(level);
    const savedMs = writingMsPerMiB * (lastPart - part);
    return Math.max(
      otherMsPerMiB - savedMs + shrinking * this.#table.msPerMiB(level),
      (wireMsPerMiB ?? 0) * part,
      this.#link.floorMsPerMiB(nowMs),
    );
  }

  /** The level at which a chunk takes least; of those that are alike the lowest, or the present one. */
  #best(nowMs: number): Level {
    let best = this.#level;
    let bestMs = this.#time(best, nowMs);
    for (const level of this.#levels) {
      const ms = this.#time(level, nowMs);
      if (ms < bestMs * worthChanging || (level < best && ms <= bestMs)) {
        best = level;
        bestMs = ms;
      }
    }
    return best;
  }
}
