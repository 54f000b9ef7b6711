/** The product's own engine for `migrate profile --engine full`: sendVm and serve, as the commands run them. */
import { mkdirSync } from "node:fs";
import { serve } from "../../migration/destination/serve.ts";
import type { MigrationEvent } from "../../migration/report/events.ts";
import { sendVm } from "../../migration/source/send.ts";
import type { FullEngine, FullSend, FullServe, FullServing } from "../../profiler/engine/full-engine.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { usualDoors, usualLanes } from "../cli/threads.ts";

/** A ticket for the whole of a profile, however long. */
const ticketTtlMs = 24 * 3_600_000;

export class ProductEngine implements FullEngine {
  readonly #ended = new AbortController();

  async serve({ home, store, insecure }: FullServe): Promise<FullServing> {
    mkdirSync(store, { recursive: true, mode: 0o700 });
    const listening = Promise.withResolvers<Extract<MigrationEvent, { event: "listening" }>>();
    serve(
      {
        home,
        listen: [{ host: "127.0.0.1", port: 0 }],
        store,
        once: false,
        maxSessions: 1,
        ticketTtlMs,
        insecure,
        // What is measured is the whole VM on its way.
        index: false,
        workers: usualDoors(),
        passphrase: noPassphrase,
        signal: this.#ended.signal,
      },
      (event) => {
        if (event.event === "listening") listening.resolve(event);
      },
    ).catch(listening.reject);
    const { address, ticket } = await listening.promise;
    return {
      port: Number(address.slice(address.lastIndexOf(":") + 1)),
      ...(ticket === undefined ? {} : { ticket }),
    };
  }

  async send(options: FullSend, linked: () => void): Promise<{ wireBytes: number }> {
    const { home, name, ram, disks, port, ticket, insecure } = options;
    const { wireBytes } = await sendVm(
      {
        home,
        vm: { name, ram, disks },
        address: { host: "127.0.0.1", port },
        ticket: insecure ? undefined : ticket,
        lanes: usualLanes(),
        compression: "off",
        after: "keep",
        copy: true,
        retryForMs: 0,
        insecure,
        passphrase: noPassphrase,
        signal: this.#ended.signal,
      },
      (event) => {
        if (event.event === "phase" && event.phase === "prepare") linked();
      },
    );
    return { wireBytes };
  }

  end(): void {
    this.#ended.abort();
  }
}

/** The homes are made for the profile and sealed by nobody. */
const noPassphrase = () => Promise.reject(new MigrateError("bug", "a throwaway home is sealed"));
