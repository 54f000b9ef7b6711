/** When the mirror of a disk is given up as one that does not get done; on a clock of the test's own. */
import { describe, expect, test } from "bun:test";
import { MirrorPace } from "../../../../src/vm/qemu/outgoing/mirror-pace.ts";

const mebibyte = 1024 ** 2;
/** Asks once a second for a minute; returns the second in which it is hopeless, or null. */
function hopelessAt(progress: (second: number) => { doneBytes: number; bytes: number }): number | null {
  const pace = new MirrorPace();
  for (let second = 0; second < 60; second++) {
    if (pace.isHopeless(progress(second), second * 1000)) return second;
  }
  return null;
}

describe("a mirror is hopeless", () => {
  test("where as much is written as is copied, or more", () => {
    for (const writtenMiB of [2, 5]) {
      const progress = (second: number) => ({
        doneBytes: second * 2 * mebibyte,
        bytes: (100 + second * writtenMiB) * mebibyte,
      });
      expect(hopelessAt(progress)).toBe(10);
    }
  });
});

describe("a mirror is not hopeless", () => {
  test("while what is left becomes less, however slowly", () => {
    expect(
      hopelessAt((second) => ({
        doneBytes: second * 2 * mebibyte,
        bytes: 200 * mebibyte + second * mebibyte,
      })),
    ).toBeNull();
  });

  test("once the link carries again what it could not carry for a while", () => {
    const progress = (second: number) => ({
      doneBytes: (second < 5 ? second : Math.max(5, second - 30)) * 20 * mebibyte,
      bytes: (1000 + second * 5) * mebibyte,
    });
    expect(hopelessAt(progress)).toBeNull();
  });

  test("for a burst of a guest, after it has been copied for long", () => {
    const pace = new MirrorPace();
    const at = (second: number) => ({
      doneBytes: second * 100 * mebibyte,
      bytes: (200_000 + Math.max(0, second - 900) * 150) * mebibyte,
    });
    const hopeless = Array.from({ length: 1100 }, (_, n) => n).find((n) => pace.isHopeless(at(n), n * 1000));
    // A quarter of the time that it has taken.
    expect(hopeless).toBeUndefined();
    const later = Array.from({ length: 200 }, (_, n) => 1100 + n).find((n) =>
      pace.isHopeless(at(n), n * 1000),
    );
    expect(later).toBe(1200);
  });

  test("while the link carries nothing, or QEMU looks at the disk", () => {
    expect(hopelessAt(() => ({ doneBytes: 3 * mebibyte, bytes: 200 * mebibyte }))).toBeNull();
    expect(hopelessAt(() => ({ doneBytes: 0, bytes: 0 }))).toBeNull();
  });
});
