/**
 * A guest that writes its memory as fast as it can does not always survive a live migration under TCG:
 * QEMU 7.2 without KVM now and then misses a page that is written in the moment in which it is looked at.
 * So a test with such a guest that finds it lost afterwards tries again with another; what fails in every try
 * is ours. So is what fails too often: the test command counts every guest, see runner/lost-guests.ts.
 */
import { countGuest } from "../runner/lost-guests.ts";

/** The guest did not come out of the move as it went in. */
class GuestLost extends Error {}

/** Looks whether the guest is whole. Throws what `triedAgain` takes for a lost guest. */
export async function wholeGuest<T>(look: () => Promise<T>): Promise<T> {
  try {
    const seen = await look();
    countGuest(false);
    return seen;
  } catch (cause) {
    countGuest(true);
    throw new GuestLost(`the guest is lost: ${cause}`, { cause });
  }
}

/** A test that does `work`, and again if the guest was lost by it; three times in all. Throws what the last time threw. */
export function triedAgain(work: () => Promise<void>): () => Promise<void> {
  return async () => {
    for (let left = 2; ; left--) {
      try {
        return await work();
      } catch (thrown) {
        if (!(thrown instanceof GuestLost) || left === 0) throw thrown;
        console.log(`${thrown.message.slice(0, 300)}\nonce more, with another guest`);
      }
    }
  };
}
