/**
 * How many guests were lost over a whole run of the tests, and whether that is more than QEMU loses by itself.
 *
 * Most guests do next to nothing, and a page that QEMU misses is seldom one that they need; where it is, their
 * kernel panics after the move. A file with such a guest may fail once: the test command runs it again. These are
 * counted too, among all guests that arrived.
 *
 * A test forgives a guest that came out of a live move damaged (guests/lost-guest.ts), because QEMU 7.2 under
 * TCG damages some by itself. A fault of ours that damages one guest in three would pass such tests. So all of
 * them are counted together, in a file that the environment names.
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";

/** QEMU's own migration, with nothing of ours in between, damaged 8 guests in 138 moves. */
export const ownRate = 8 / 138;

/** Of guests that only tick, 3 panicked after a move in some 600 that arrived. */
export const panicRate = 3 / 600;

/** With what probability a run in which only QEMU loses guests is taken for one in which we do. */
export const falseAlarm = 2e-3;

/** Names the file; absent where nobody counts. */
export const countFileVariable = "MIGRATE_TEST_LOST_GUESTS";

export interface GuestCount {
  /** Guests that were looked at after a move. */
  looks: number;
  /** Those of them that were lost. */
  lost: number;
  /** Guests that a destination of a live test had. */
  arrived: number;
  /** Those of them that lost a page and showed it, by a panic as a rule. */
  panicked: number;
}

/** Counts one more guest that was looked at after a move. */
export function countGuest(isLost: boolean): void {
  write(isLost ? "lost" : "whole");
}

/** What a guest prints that lost a page: of its kernel, of a program, or of those that it looks at itself. */
const lossShown = /Kernel panic - not syncing|Segmentation fault|ram damaged/;

/** Counts one more guest that arrived, by all that it printed there. */
export function countArrived(printed: string): void {
  write(lossShown.test(printed) ? "panicked" : "arrived");
}

function write(word: string): void {
  const path = process.env[countFileVariable];
  // One short line of O_APPEND is written as a whole (write(2)): test processes do not mix their lines.
  if (path !== undefined && path !== "") appendFileSync(path, `${word}\n`);
}

/** What all processes have counted into the files; nothing of one that is not there. */
export function guestCount(...paths: string[]): GuestCount {
  const lines = paths.flatMap((path) => (existsSync(path) ? readFileSync(path, "utf8").split("\n") : []));
  const of = (...words: string[]) => lines.filter((line) => words.includes(line)).length;
  return {
    looks: of("lost", "whole"),
    lost: of("lost"),
    arrived: of("arrived", "panicked"),
    panicked: of("panicked"),
  };
}

/** The probability of more than `most` successes in `count` tries of which each succeeds with probability `rate`. Pure. */
export function probabilityOfMore(most: number, count: number, rate: number): number {
  // P(X = 0), then each from the one before.
  let one = (1 - rate) ** count;
  let upTo = 0;
  for (let k = 0; k <= Math.min(most, count); k++) {
    upTo += one;
    one *= ((count - k) / (k + 1)) * (rate / (1 - rate));
  }
  return Math.max(0, 1 - upTo);
}

/**
 * How many of `looks` guests may be lost at the most: the smallest number that QEMU alone exceeds with a
 * probability of at most `alarm`. Pure.
 */
export function mostLost(looks: number, rate = ownRate, alarm = falseAlarm): number {
  let most = 0;
  while (probabilityOfMore(most, looks, rate) > alarm) most++;
  return most;
}
