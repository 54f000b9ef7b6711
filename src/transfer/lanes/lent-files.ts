/**
 * The descriptors that a pool lends to its lanes. They are the pool's own, beside those of the session, which
 * may close its files while a lane is in the middle of a read: a number that is closed is soon that of
 * another file. So they stay open until the pool is over and the last lane has given them back; one that
 * never does (a disk that no longer answers) keeps them open for as long as the process lives.
 */
import { closeSync, openSync } from "node:fs";

export class LentFiles {
  /** In the order of the files they were made for. */
  readonly fds: readonly number[];
  #lent = 0;
  #isOver = false;

  private constructor(fds: readonly number[]) {
    this.fds = fds;
  }

  /**
   * Opens what these descriptors refer to once more, for reading, whatever lies under the files' names by now
   * (proc_pid_fd(5)). No lock comes along: one that guards the files ends with the session's own
   * descriptors. Throws as node:fs does, and then nothing is left open.
   */
  static open(originals: readonly number[]): LentFiles {
    const fds: number[] = [];
    try {
      for (const fd of originals) fds.push(openSync(`/proc/self/fd/${fd}`, "r"));
      return new LentFiles(fds);
    } catch (thrown) {
      for (const fd of fds) closeSync(fd);
      throw thrown;
    }
  }

  /** One more lane reads through them. Returns what gives them back; only the first call of it counts. */
  lend(): () => void {
    this.#lent++;
    let isBack = false;
    return () => {
      if (isBack) return;
      isBack = true;
      this.#lent--;
      this.#closeUnused();
    };
  }

  /** They are lent to nobody any more, and closed once all lanes have given them back. To be called once. */
  end(): void {
    this.#isOver = true;
    this.#closeUnused();
  }

  #closeUnused(): void {
    if (this.#isOver && this.#lent === 0) for (const fd of this.fds) closeSync(fd);
  }
}
