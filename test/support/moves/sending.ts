/** A source inside the test's own process. */

import type { Address } from "../../../src/channel/address.ts";
import type { HeartbeatTiming } from "../../../src/channel/control-link.ts";
import type { WriteHook } from "../../../src/migration/journal/journal.ts";
import type { VmSpec } from "../../../src/migration/providers/candidates.ts";
import type { MigrationEvent } from "../../../src/migration/report/events.ts";
import type { Report } from "../../../src/migration/report/report.ts";
import { sendVm } from "../../../src/migration/source/send.ts";
import { asMigrateError, type MigrateError } from "../../../src/protocol/errors.ts";
import type { VmPolicy } from "../../../src/protocol/vm-policy.ts";
import type { Compression } from "../../../src/transfer/compression/compression.ts";

export interface SendingOptions {
  home: string;
  vm: VmSpec;
  address: Address;
  /** Makes the link a secure one, as does `secure`. */
  ticket?: string | undefined;
  secure?: boolean;
  lanes?: number;
  bandwidthBytesPerSec?: number;
  /** "auto" where it is absent, as in the command. */
  compression?: Compression;
  base?: string;
  after?: "keep" | "rename" | "delete";
  copy?: boolean;
  vmPolicy?: VmPolicy;
  retryForMs?: number;
  /** As `migrate send --attest` and `--prove`, with the TPM that `env` names. */
  attests?: boolean;
  proves?: boolean;
  env?: Record<string, string | undefined>;
  signal?: AbortSignal;
  timing?: HeartbeatTiming;
  onJournalWrite?: WriteHook;
  /** Hears every event as it comes. */
  observe?: (event: MigrationEvent) => void;
}

export interface Sent {
  /** What was done; undefined where it failed. */
  done: Report | undefined;
  error: MigrateError | undefined;
  events: MigrationEvent[];
}

/** Sends a VM and waits for the end, be it good or bad; never rejects. */
export async function sendOnce(options: SendingOptions): Promise<Sent> {
  const events: MigrationEvent[] = [];
  try {
    const done = await sendVm(
      {
        home: options.home,
        vm: options.vm,
        address: options.address,
        ticket: options.ticket,
        lanes: options.lanes ?? 2,
        bandwidthBytesPerSec: options.bandwidthBytesPerSec,
        compression: options.compression ?? "auto",
        base: options.base,
        after: options.after ?? "rename",
        copy: options.copy ?? false,
        vmPolicy: options.vmPolicy,
        retryForMs: options.retryForMs ?? 20_000,
        insecure: options.ticket === undefined && options.secure !== true,
        passphrase: () => Promise.reject(new Error("there is no passphrase in this test")),
        signal: options.signal ?? new AbortController().signal,
        timing: options.timing,
        ...{ attests: options.attests, proves: options.proves, env: options.env },
        onJournalWrite: options.onJournalWrite,
      },
      (event) => {
        events.push(event);
        options.observe?.(event);
      },
    );
    return { done, error: undefined, events };
  } catch (thrown) {
    return { done: undefined, error: asMigrateError(thrown), events };
  }
}

/** As `sendOnce`, where nothing may fail. Throws what did. */
export async function sendWhole(options: SendingOptions): Promise<Report & { events: MigrationEvent[] }> {
  const { done, error, events } = await sendOnce(options);
  if (done === undefined) throw error;
  return { ...done, events };
}
