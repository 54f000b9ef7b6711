/** The control connections whose sources have not read yet what they were told, and who waits for it. */
import type { ControlLink } from "../../../channel/control-link.ts";
import type { MigrateError } from "../../../protocol/errors.ts";

export class UnreadLinks {
  /** By connection. */
  readonly #waiting = new Map<string, { link: ControlLink; done: () => void }>();

  /** Resolves once `read` was called for this connection, or it is gone. */
  wait(key: string, link: ControlLink): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = () => {
      this.#waiting.delete(key);
      takeBack();
      resolve();
    };
    this.#waiting.set(key, { link, done });
    const takeBack = link.onClosed(done);
    return promise;
  }

  /** All was read on this connection. */
  read(key: string): void {
    this.#waiting.get(key)?.done();
  }

  /** The connections on which something waits. */
  get links(): ControlLink[] {
    return [...this.#waiting.values()].map(({ link }) => link);
  }

  /** Closes this one, if something waits on it. */
  endUnread(link: ControlLink, why: MigrateError): void {
    if (this.links.includes(link)) link.destroy(why);
  }
}
