/** `migrate send`: one VM from here to there. */
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import { loadIdentity } from "../../channel/identity.ts";
import { parseTicket } from "../../channel/ticket.ts";
import { openHome } from "../../home/home.ts";
import type { Compression } from "../../transfer/compression/compression.ts";
import { checkSelfContained } from "../../vm/disks/disk-format.ts";
import { WatchedFiles } from "../../vm/folder/watched-files.ts";
import { Journal, type WriteHook } from "../journal/journal.ts";
import type { Observer } from "../report/events.ts";
import type { Report } from "../report/report.ts";
import { claimSession, type VmSpec } from "./claim.ts";
import { Source } from "./source.ts";
import { type Address, addressText } from "./source-link.ts";

export interface SendOptions {
  home: string;
  vm: VmSpec;
  address: Address;
  ticket?: string | undefined;
  /** Lanes: connections that carry chunks, each in a Worker of its own. */
  lanes: number;
  bandwidthBytesPerSec?: number | undefined;
  /** How chunks, and the streams of a running VM, are compressed. */
  compression: Compression;
  /** A VM of the destination's store from which much of this one may be taken. */
  base?: string | undefined;
  after: "keep" | "rename" | "delete";
  copy: boolean;
  /** How long a lost link is tried again, counted from the last byte that got through. */
  retryForMs: number;
  insecure: boolean;
  passphrase: () => Promise<string>;
  signal: AbortSignal;
  timing?: HeartbeatTiming | undefined;
  onJournalWrite?: WriteHook | undefined;
}

/**
 * Moves or copies a VM. Gives what was done; the observer has heard the same as its last event.
 * Throws MigrateError, after which the source still owns the VM unless the code is "in-doubt" or
 * "not-owner".
 */
export async function sendVm(options: SendOptions, observe: Observer): Promise<Report> {
  const home = openHome(options.home);
  const ticket = options.ticket === undefined || options.insecure ? undefined : parseTicket(options.ticket);
  const identity = options.insecure ? null : await loadIdentity(home, { passphrase: options.passphrase });
  const journal = Journal.open(home, options.onJournalWrite);
  const now = () => Date.now();
  try {
    const claim = claimSession(journal, home, {
      spec: options.vm,
      address: addressText(options.address),
      mode: options.copy ? "copy" : "move",
      after: options.after,
      now,
    });
    const files = claim.vm && WatchedFiles.open(claim.vm);
    try {
      for (const file of claim.vm?.files ?? []) if (file.kind === "disk") checkSelfContained(file.path);
      return await new Source({
        ...options,
        home,
        journal,
        session: claim.record.session,
        vm: claim.vm,
        files,
        identity,
        ticket,
        observe,
        now,
      }).run();
    } finally {
      files?.close();
      claim.release();
    }
  } finally {
    journal.close();
  }
}
