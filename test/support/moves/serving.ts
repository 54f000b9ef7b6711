/** A destination inside the test's own process. */

import type { ListenAddress, TcpAddress } from "../../../src/channel/address.ts";
import type { HeartbeatTiming } from "../../../src/channel/control-link.ts";
import type { Attesting } from "../../../src/migration/destination/peers/destination-gate.ts";
import { serve } from "../../../src/migration/destination/serve.ts";
import type { WriteHook } from "../../../src/migration/journal/journal.ts";
import type { QemuPolicy } from "../../../src/migration/providers/qemu/arriving-command.ts";
import type { MigrationEvent } from "../../../src/migration/report/events.ts";

export interface ServingOptions {
  home: string;
  store: string;
  /** A unix socket beside the port. */
  unix?: string;
  /** Plain TCP unless this is true. */
  secure?: boolean;
  once?: boolean;
  maxSessions?: number;
  /** Running VMs are taken, too. */
  qemu?: QemuPolicy;
  ticketTtlMs?: number;
  /** True where it is absent, as in the command; of use on a secure one alone. */
  index?: boolean;
  workers?: number;
  timing?: HeartbeatTiming;
  /** Neither proves anything nor demands it where it is absent. */
  attesting?: Attesting;
  onJournalWrite?: WriteHook;
  /** Unix time in milliseconds, in place of this host's. */
  now?: () => number;
}

export interface Serving {
  address: TcpAddress;
  /** One ticket; absent on an insecure one. */
  ticket: string | undefined;
  /** Everything it said so far. */
  events: readonly MigrationEvent[];
  /** Rejects with what ended it, where that was an error. */
  ended: Promise<void>;
  /** Ends it as SIGTERM does, and waits for the end. */
  stop(): Promise<void>;
}

const running = new Set<Serving>();

/** Who began to serve last, of those that serve now. */
export const lastServing = (): Serving | undefined => [...running].at(-1);

/** Ends every destination that still serves: for `afterEach` or `afterAll`. */
export async function stopServing(): Promise<void> {
  await Promise.all([...running].map((serving) => serving.stop()));
}

/** Serves on a free port of 127.0.0.1. Rejects with the MigrateError that kept it from listening. */
export async function startServing(options: ServingOptions): Promise<Serving> {
  const controller = new AbortController();
  const events: MigrationEvent[] = [];
  const listen: ListenAddress[] = [{ host: "127.0.0.1", port: 0 }];
  if (options.unix !== undefined) listen.push({ unix: options.unix });
  const listening = Promise.withResolvers<Extract<MigrationEvent, { event: "listening" }>>();
  const ended = serve(
    {
      home: options.home,
      listen,
      store: options.store,
      once: options.once ?? false,
      maxSessions: options.maxSessions ?? 256,
      ticketTtlMs: options.ticketTtlMs ?? 600_000,
      insecure: options.secure !== true,
      index: options.index ?? true,
      workers: options.workers ?? 2,
      passphrase: () => Promise.reject(new Error("there is no passphrase in this test")),
      signal: controller.signal,
      ...(options.qemu === undefined ? {} : { qemu: options.qemu }),
      ...(options.now === undefined ? {} : { now: options.now }),
      ...(options.attesting === undefined ? {} : { attesting: options.attesting }),
      ...(options.timing === undefined ? {} : { timing: options.timing }),
      ...(options.onJournalWrite === undefined ? {} : { onJournalWrite: options.onJournalWrite }),
    },
    (event) => {
      events.push(event);
      if (event.event === "listening") listening.resolve(event);
    },
  );
  ended.catch(listening.reject);
  const { address: places, ticket } = await listening.promise;
  const [address = ""] = places.split(", ");
  const serving: Serving = {
    address: { host: "127.0.0.1", port: Number(address.slice(address.lastIndexOf(":") + 1)) },
    ticket,
    events,
    ended,
    async stop() {
      running.delete(serving);
      controller.abort();
      await ended;
    },
  };
  running.add(serving);
  return serving;
}
