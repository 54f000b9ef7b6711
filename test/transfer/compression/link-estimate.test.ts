/** What a lane concludes of its link from waits and acknowledgements. */
import { describe, expect, test } from "bun:test";
import { LinkEstimate } from "../../../src/transfer/compression/link-estimate.ts";

const mebibyte = 1024 * 1024;

/** A lane that always has one more chunk under way, in a time of its own. */
class Lane {
  readonly link = new LinkEstimate();
  nowMs = 0;

  constructor() {
    this.link.closePeriod(0, "slowly");
    this.link.sent(0, mebibyte, mebibyte, 0);
  }

  /** Chunks of 1 MiB of which `part` is sent, `ms` for each, of which the lane waits `waitMs`. */
  pass(
    count: number,
    part: number,
    ms: number,
    waitMs: number,
    forget: "quickly" | "slowly" = "slowly",
  ): void {
    for (let i = 0; i < count; i++) {
      this.link.closePeriod(this.nowMs, forget);
      this.link.sent(this.nowMs, mebibyte, part * mebibyte, 0);
      this.nowMs += ms;
      this.link.acknowledged(this.nowMs, part * mebibyte);
      this.link.waited(waitMs);
    }
    this.link.closePeriod(this.nowMs, "slowly");
  }
}

describe("the link's rate", () => {
  test("shows while the lane waits for it, and not before", () => {
    const lane = new Lane();
    lane.pass(40, 1, 5, 0.5);
    expect(lane.link.wireMsPerMiB).toBeNull();
    lane.pass(40, 1, 5, 4);
    expect(lane.link.wireMsPerMiB).toBeCloseTo(5, 6);
  });

  test("is counted in bytes that were sent, not in bytes that they stand for", () => {
    const lane = new Lane();
    lane.pass(40, 0.25, 5, 4);
    expect(lane.link.wireMsPerMiB).toBeCloseTo(20, 1);
  });

  test("shows, too, where thousands of small bodies are under way between large ones", () => {
    const link = new LinkEstimate();
    const [small, large] = [1024, mebibyte / 2];
    const roundBytes = 2048 * small + large / 4;
    let nowMs = 0;
    const send = () => {
      for (let i = 0; i < 2048; i++) link.sent(nowMs, small, small, 0);
      link.sent(nowMs, large, large / 4, 0);
    };
    link.closePeriod(nowMs, "slowly");
    send();
    for (let i = 0; i < 20; i++) {
      send();
      nowMs += 60;
      link.acknowledged(nowMs, roundBytes);
      link.waited(50);
      link.closePeriod(nowMs, "slowly");
    }
    expect(link.wireMsPerMiB).toBeCloseTo(60 / (roundBytes / mebibyte), 6);
    expect(link.lastPart).toBeCloseTo(roundBytes / (2048 * small + large), 6);
  });

  test("is forgotten upwards while it does not show", () => {
    const lane = new Lane();
    lane.pass(100, 1, 20, 15);
    lane.pass(150, 0.5, 20, 0);
    // Three seconds of a quarter more each.
    expect(lane.link.wireMsPerMiB).toBeLessThan(20 / 1.25 ** 2.8);
    expect(lane.link.wireMsPerMiB).toBeGreaterThan(20 / 1.25 ** 3.2);
  });

  test("is forgotten quickly where little hangs on it", () => {
    const lane = new Lane();
    lane.pass(100, 1, 20, 15);
    lane.pass(150, 0.5, 20, 0, "quickly");
    expect(lane.link.wireMsPerMiB ?? 0).toBeLessThan(20 / 2 ** 2.8);
  });

  test("is at least what passes without a wait", () => {
    const lane = new Lane();
    lane.pass(20, 1, 50, 40);
    lane.pass(20, 1, 10, 0);
    expect(lane.link.wireMsPerMiB).toBeLessThanOrEqual(10);
  });

  test("is taken at once where the link became slower", () => {
    const lane = new Lane();
    lane.pass(40, 1, 5, 4);
    lane.pass(4, 1, 50, 45);
    expect(lane.link.wireMsPerMiB).toBeCloseTo(50, 6);
  });

  test("is not spoilt by a time in which nothing was under way", () => {
    const lane = new Lane();
    lane.pass(40, 1, 5, 4);
    lane.link.acknowledged(lane.nowMs, mebibyte);
    // What is heard in between is of chunks that the destination found for itself.
    lane.link.acknowledged(lane.nowMs + 5_000, 300);
    lane.nowMs += 10_000;
    lane.link.rested(10_000);
    lane.link.sent(lane.nowMs, mebibyte, mebibyte, 0);
    lane.pass(8, 1, 5, 4);
    expect(lane.link.wireMsPerMiB).toBeCloseTo(5, 0);
    expect(lane.link.otherMsPerMiB).toBeLessThan(2);
  });
});

describe("a destination that holds everything up", () => {
  test("is told from a slow link: fewer bytes do not make it faster", () => {
    const lane = new Lane();
    lane.pass(40, 1, 5, 4);
    lane.pass(40, 0.25, 5, 4);
    expect(lane.link.wireMsPerMiB).toBeCloseTo(5, 0);
    expect(lane.link.floorMsPerMiB(lane.nowMs)).toBeCloseTo(5, 0);
  });

  test("is not seen in a link for which fewer bytes take less time", () => {
    const lane = new Lane();
    lane.pass(40, 1, 20, 15);
    lane.pass(80, 0.25, 5, 4);
    expect(lane.link.wireMsPerMiB).toBeCloseTo(20, 0);
    expect(lane.link.floorMsPerMiB(lane.nowMs)).toBe(0);
  });

  test("is doubted the longer it looks like a link that has become slower", () => {
    const lane = new Lane();
    lane.pass(40, 1, 5, 4);
    lane.pass(40, 0.25, 5, 4);
    const before = lane.link.wireMsPerMiB!;
    lane.pass(400, 0.25, 5, 4);
    // Two seconds of a quarter more each.
    expect(lane.link.wireMsPerMiB).toBeGreaterThan(before * 1.5);
  });

  test("is forgotten in time, so that compressing gets another try", () => {
    const lane = new Lane();
    lane.pass(40, 1, 5, 4);
    lane.pass(40, 0.25, 5, 4);
    const now = lane.link.floorMsPerMiB(lane.nowMs);
    expect(lane.link.floorMsPerMiB(lane.nowMs + 64_000)).toBeLessThanOrEqual(now / 2);
  });
});
