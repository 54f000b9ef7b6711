/**
 * How much of what all sources share one of them may have. Pure.
 *
 * A limit that depends on what is left (A. K. Choudhury, E. L. Hahne, Dynamic queue length thresholds for
 * shared-memory packet switches, IEEE/ACM Transactions on Networking 6(2), 1998): a source alone gets half, the
 * next one half of what that leaves, and there is always something for one more to come.
 */

/**
 * The most sessions that one source may have open of `most`, if all others together have `ofOthers` open; at
 * least one, if any is left.
 */
export function sessionShare(most: number, ofOthers: number): number {
  return Math.ceil((most - ofOthers) / 2);
}
