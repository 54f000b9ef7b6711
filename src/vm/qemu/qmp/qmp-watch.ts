/** Who waits for QEMU's events, and how the waiting ends. */
import { QmpError } from "./qmp-error.ts";
import type { QmpEvent } from "./qmp-line.ts";

export type EventFilter = (event: QmpEvent) => boolean;

export interface QmpWaitOptions {
  /** No limit if it is absent. */
  timeoutMs?: number | undefined;
  /** Its reason is what the waiting is rejected with. */
  signal?: AbortSignal | undefined;
}

interface Watcher {
  take(event: QmpEvent): void;
  end(reason: QmpError): void;
}

export class QmpWatch {
  readonly #watchers = new Set<Watcher>();
  #reason: QmpError | undefined;

  /** Calls the listener with every event from now on; the function that this returns removes it. */
  listen(listener: (event: QmpEvent) => void): () => void {
    return this.#add({ take: listener, end: () => {} });
  }

  /** See Qmp.nextEvent. */
  next(
    names: readonly string[],
    where: EventFilter,
    { timeoutMs, signal }: QmpWaitOptions,
  ): Promise<QmpEvent> {
    const what = names.join(" or ");
    const found = Promise.withResolvers<QmpEvent>();
    const leave = this.#add({
      take: (event) => {
        try {
          if (names.includes(event.event) && where(event)) found.resolve(event);
        } catch (thrown) {
          found.reject(thrown);
        }
      },
      end: (reason) => found.reject(reason.during(`the event ${what}`)),
    });
    const late = () =>
      found.reject(new QmpError("silent", `QEMU did not tell of ${what} within ${timeoutMs} ms`));
    const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
    const abort = () => found.reject(signal?.reason);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort);
    const done = found.promise.finally(() => {
      clearTimeout(timer);
      leave();
      signal?.removeEventListener("abort", abort);
    });
    // It may fail while its caller still waits for the command that comes before it.
    done.catch(() => {});
    return done;
  }

  /** An event has come. What a listener throws is a bug of ours, and no reason to blame QEMU. */
  take(event: QmpEvent): void {
    for (const watcher of [...this.#watchers]) {
      try {
        watcher.take(event);
      } catch (thrown) {
        queueMicrotask(() => {
          throw thrown;
        });
      }
    }
  }

  /** No event will come any more. */
  end(reason: QmpError): void {
    this.#reason ??= reason;
    for (const watcher of this.#watchers) watcher.end(this.#reason);
    this.#watchers.clear();
  }

  #add(watcher: Watcher): () => void {
    if (this.#reason !== undefined) watcher.end(this.#reason);
    else this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }
}
