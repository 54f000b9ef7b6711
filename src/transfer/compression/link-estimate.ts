/**
 * What a lane knows of the way its bytes go: how long the link takes for 1 MiB, how long the other
 * side takes whatever the size, and how long the lane's own work takes. Pure: it is told the time.
 *
 * A link's rate shows only while the lane waits for it. While it does not, the link is at least as
 * fast as what passes; it may have become faster, so the estimate is forgotten upwards. And a lane
 * that waits does not always wait for the link: the other side has work to do for each chunk, and
 * if this is what holds the lane up, fewer bytes change nothing. The two are told apart by what
 * happens when fewer bytes stand for the same data: a link takes less time for them, a busy
 * destination does not.
 */

/** Acknowledgements that follow the first one so soon were waiting beside it. */
const firstBatchMs = 1;
/** A period is no shorter than this. */
const periodMs = 50;
/** Part of a period that a lane must have waited before the period shows how fast the link is. */
const waitingPart = 0.25;
/**
 * Growth of the assumed rate in a second in which it does not show. It may be quick while what hangs
 * on it is one level or the next; the step from compressing to not compressing is the expensive one.
 */
const forgetting = { quickly: 2, slowly: 1.25 };
/** Two figures that differ by less are the same. */
const same = 1.15;
/** A period shows how long data takes uncompressed if less than this part of it was compressed. */
const mostlyAsItIs = 0.05;
const mebibyte = 1024 * 1024;
/** First and longest half-life of what was found about the other side. */
const floorHalfLifeMs = { first: 8_000, longest: 64_000 };

/** Small bodies count together up to this. */
const countedBytes = 64 * 1024;

interface Sent {
  wireBytes: number;
  bodyBytes: number;
}

/** Sums of the period that is not closed yet. */
const fresh = () => ({
  busyMs: 0,
  /** Compressing while `busyMs` was counted. */
  busyCompressingMs: 0,
  waitedMs: 0,
  restedMs: 0,
  compressingMs: 0,
  bodyBytes: 0,
  ackedWire: 0,
  ackedBody: 0,
  ackedSmaller: 0,
});

export class LinkEstimate {
  /** Milliseconds that the link takes for 1 MiB of frames; null: faster than the lane fills it. */
  wireMsPerMiB: number | null = null;
  /** Milliseconds of the lane's own work for 1 MiB of bodies, without compressing. */
  otherMsPerMiB = 0.8;
  /** Frame bytes to body bytes in the last period. */
  lastPart = 1;
  /** The lane waited for a noticeable part of the last period: its thread has time to spare. */
  waiting = false;
  /** Periods that were closed. */
  periods = 0;
  /** What 1 MiB took in the last period in which the lane waited and sent all uncompressed, and when; null: never. */
  asItIs: { msPerMiB: number; atMs: number } | null = null;

  readonly #underWay: Sent[] = [];
  #ackedAhead = 0;
  #sums = fresh();
  #beganMs: number | undefined;
  /** Something has been under way, unacknowledged, since then. */
  #busyFromMs = 0;
  #firstAckMs: number | undefined;
  /** The last period that is explained: frame bytes to body bytes, and time for 1 MiB of bodies. */
  #shown = { part: 1, msPerMiB: 0 };
  /** Least time in which 1 MiB of bodies went through while they were compressed. */
  #bestMsPerMiB: number | null = null;
  #floor: { msPerMiB: number; atMs: number; halfLifeMs: number } | null = null;

  /** It looks as if something else than the link holds the lane up, for which fewer bytes are no help. */
  get isInDoubt(): boolean {
    return this.#floor !== null;
  }

  /** A chunk goes out now, after `compressingMs` of work on it. */
  sent(nowMs: number, bodyBytes: number, wireBytes: number, compressingMs: number): void {
    if (this.#underWay.length === 0) this.#busyFromMs = nowMs;
    this.#sums.bodyBytes += bodyBytes;
    this.#sums.compressingMs += compressingMs;
    this.#sums.busyCompressingMs += compressingMs;
    const last = this.#underWay.at(-1);
    const isAlike = last && last.wireBytes < last.bodyBytes === wireBytes < bodyBytes;
    // A stream may have thousands of small frames under way: they count as few.
    if (isAlike && last.bodyBytes + bodyBytes <= countedBytes) {
      last.wireBytes += wireBytes;
      last.bodyBytes += bodyBytes;
      return;
    }
    this.#underWay.push({ wireBytes, bodyBytes });
    // Only without acknowledgements does it become so long; the figures are worth nothing then.
    if (this.#underWay.length > 1024) this.#underWay.shift();
  }

  waited(ms: number): void {
    this.#sums.waitedMs += ms;
  }

  rested(ms: number): void {
    this.#sums.restedMs += ms;
  }

  acknowledged(nowMs: number, wireBytes: number): void {
    if (this.#underWay.length > 0) this.#sums.busyMs += nowMs - this.#busyFromMs;
    this.#busyFromMs = nowMs;
    this.#take(wireBytes);
    // The first ones come after a whole way there and back, and all at once if the lane received them
    // late, which shows nothing of the rate.
    this.#firstAckMs ??= nowMs;
    if (nowMs - this.#firstAckMs >= firstBatchMs) return;
    const uncounted = { busyMs: 0, busyCompressingMs: 0, ackedWire: 0, ackedBody: 0, ackedSmaller: 0 };
    this.#sums = { ...this.#sums, ...uncounted };
  }

  #take(wireBytes: number): void {
    this.#sums.ackedWire += wireBytes;
    this.#ackedAhead += wireBytes;
    for (
      let first = this.#underWay[0];
      first && first.wireBytes <= this.#ackedAhead;
      first = this.#underWay[0]
    ) {
      this.#ackedAhead -= first.wireBytes;
      this.#sums.ackedBody += first.bodyBytes;
      if (first.wireBytes < first.bodyBytes) this.#sums.ackedSmaller += first.bodyBytes;
      this.#underWay.shift();
    }
    // What is left over are frame headers, of which a chunk's own figures know nothing.
    if (this.#ackedAhead < 4096) this.#ackedAhead = 0;
  }

  /** Milliseconds that the lane waited since the last period was closed. */
  get waitedMs(): number {
    return this.#sums.waitedMs;
  }

  /**
   * Milliseconds that the link takes for 1 MiB at most, by what was acknowledged in this period: less what the
   * lane compressed for in it, since it is then itself what its frames wait for.
   */
  shownMsPerMiB(): number {
    const { ackedWire, busyMs, busyCompressingMs } = this.#sums;
    return ackedWire === 0 ? Infinity : Math.max(0, busyMs - busyCompressingMs) / (ackedWire / mebibyte);
  }

  /** Milliseconds below which 1 MiB of compressed bodies does not go through, whatever its size. */
  floorMsPerMiB(nowMs: number): number {
    if (this.#floor === null) return 0;
    const { msPerMiB, atMs, halfLifeMs } = this.#floor;
    return msPerMiB * 0.5 ** ((nowMs - atMs) / halfLifeMs);
  }

  /**
   * Closes the period if it was long enough. To be called between chunks, when every wait has been
   * reported. The bytes are counted from acknowledgement to acknowledgement, for on a slow link they come
   * in lumps of a chunk, and only while there are chunks under way. `forget` is how the rate is
   * forgotten if the lane did not wait for it.
   */
  closePeriod(nowMs: number, forget: "quickly" | "slowly"): void {
    if (this.#beganMs === undefined) {
      this.#beganMs = nowMs;
      return;
    }
    const { busyMs: ms, waitedMs, compressingMs, bodyBytes, ackedWire, ackedBody, ackedSmaller } = this.#sums;
    if (ms < periodMs || ackedBody === 0) return;
    const lengthMs = nowMs - this.#beganMs - this.#sums.restedMs;
    if (bodyBytes > 0) {
      const otherMs = Math.max(0, lengthMs - waitedMs - compressingMs);
      this.otherMsPerMiB += 0.3 * (otherMs / (bodyBytes / mebibyte) - this.otherMsPerMiB);
    }
    const shown = { part: ackedWire / ackedBody, msPerMiB: ms / (ackedBody / mebibyte) };
    this.lastPart = shown.part;
    const wireMsPerMiB = ms / (ackedWire / mebibyte);
    const waited = waitedMs / (lengthMs * waitingPart);
    this.waiting = waited >= 1;
    if (this.waiting && ackedSmaller < mostlyAsItIs * ackedBody) {
      this.asItIs = { msPerMiB: shown.msPerMiB, atMs: nowMs };
    }
    if (this.waiting) {
      this.#shows(nowMs, ms, wireMsPerMiB, shown);
    } else {
      // The less the lane waited, the less is known.
      this.#hides((1 - waited) * ms, wireMsPerMiB, forgetting[forget]);
      this.#shown = shown;
    }
    if (ackedSmaller > 0.8 * ackedBody) {
      this.#bestMsPerMiB = Math.min((this.#bestMsPerMiB ?? shown.msPerMiB) * 1.05, shown.msPerMiB);
    }
    this.#beganMs = nowMs;
    this.#sums = fresh();
    this.periods++;
  }

  #shows(nowMs: number, ms: number, wireMsPerMiB: number, shown: { part: number; msPerMiB: number }): void {
    const known = this.wireMsPerMiB;
    if (this.#floor && shown.part < 0.9 && shown.msPerMiB < this.#floor.msPerMiB / same) this.#floor = null;
    if (known === null || wireMsPerMiB <= known * same) {
      this.wireMsPerMiB =
        known === null || wireMsPerMiB < known / same ? wireMsPerMiB : (known + wireMsPerMiB) / 2;
      this.#shown = shown;
      return;
    }
    if (this.#isHeldUpElsewhere(shown)) {
      const { first, longest } = floorHalfLifeMs;
      const halfLifeMs = this.#floor ? Math.min(this.#floor.halfLifeMs * 4, longest) : first;
      this.#floor = { msPerMiB: shown.msPerMiB, atMs: nowMs, halfLifeMs };
      // It may be the link after all; the longer it looks alike, the more so.
      this.wireMsPerMiB = known * forgetting.slowly ** (ms / 1000);
      return;
    }
    this.wireMsPerMiB = wireMsPerMiB;
    this.#shown = shown;
    this.#floor = null;
  }

  /**
   * Fewer bytes pass than the link is known to take. Either it has become slower, or it never held
   * these bytes up: then they are fewer for the same data, and the data goes about as slowly as before,
   * or more slowly by what it costs the other side to decompress.
   */
  #isHeldUpElsewhere({ part, msPerMiB }: { part: number; msPerMiB: number }): boolean {
    const fewer = part / this.#shown.part;
    if (fewer >= 0.95) return false;
    const best = this.#bestMsPerMiB;
    if (fewer >= 0.8) return msPerMiB <= (best ?? this.#shown.msPerMiB) * same;
    return msPerMiB <= (best === null ? 2.5 * this.#shown.msPerMiB : 1.5 * best);
  }

  /** The lane itself was the slowest: the link is at least so fast, and may be faster. */
  #hides(ms: number, wireMsPerMiB: number, growth: number): void {
    if (this.wireMsPerMiB === null) return;
    this.wireMsPerMiB = Math.min(this.wireMsPerMiB / growth ** (ms / 1000), wireMsPerMiB);
    if (this.wireMsPerMiB < this.otherMsPerMiB / 2) this.wireMsPerMiB = null;
  }
}
