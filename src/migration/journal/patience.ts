/** Waiting for a journal that another program keeps locked, while others go on with their work. */
import { MigrateError } from "../../protocol/errors.ts";
import { isJournalBusy } from "./journal.ts";

/** Between two tries to write the journal. */
const pauseMs = 100;

/**
 * Does `work`, again and again while another program has the journal locked: a step that is not durable is not taken,
 * and what was done before it is done once more, as after a crash. `waiting` is called with a sentence when the wait
 * begins. Throws what `work` throws, and the lock's own error once `isOver`.
 */
export async function patiently<T>(
  work: () => Promise<T>,
  { isOver, waiting }: { isOver: () => boolean; waiting: (message: string) => void },
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (thrown) {
      if (!(thrown instanceof MigrateError) || !isJournalBusy(thrown) || isOver()) throw thrown;
      if (tries === 1) waiting(`${thrown.message}: waiting for it (${thrown.hint})`);
      await Bun.sleep(pauseMs);
    }
  }
}
