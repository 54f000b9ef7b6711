/**
 * A move up to the moment before anything is written: what this host would refuse, and, if there is a destination to be
 * asked, what that would. Nothing of the VM is sent, and neither host notes anything (SPEC.md, Asking).
 */
import { statSync } from "node:fs";
import { type Address, addressText } from "../../channel/address.ts";
import { peerError } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import { openSourceLink } from "../../channel/known-destination.ts";
import type { Ticket } from "../../channel/ticket.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { statBlockBytes } from "../../platform/files/filesystem.ts";
import type { Answer } from "../../protocol/asking.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import type { Candidate, Departure } from "../providers/departure.ts";
import { LinkReceipts } from "../receipts/link-receipts.ts";
import { ReceiptKeeper } from "../receipts/receipt-keeper.ts";
import { TpmWitness } from "../receipts/tpm-witness.ts";
import { beginDeparture, leftBehind } from "./begin-departure.ts";
import { type Claimable, type ClaimOptions, claimable, type Unfinished } from "./claim.ts";
import { requirePolicyKept } from "./gate/own-policy.ts";
import { SourceGate } from "./gate/source-gate.ts";
import { missingBase, offerOf } from "./offer-of.ts";
import { refusedOffer } from "./refused-offer.ts";

export interface DryRunOptions extends Omit<ClaimOptions, "address"> {
  home: string;
  base?: string | undefined;
  /**
   * Null: only this host is asked. `way` makes the way to `address`, if one has to be made, and brings its own ticket;
   * `notice`: see SourceLinkOptions.
   */
  to: {
    address: Address;
    way?: Way | undefined;
    identity: Identity | null;
    ticket?: Ticket | undefined;
    notice?: (message: string) => void;
    /** As in GateOptions. */
    attests?: boolean;
    proves?: boolean;
    env?: Record<string, string | undefined>;
  } | null;
  /** Called once this host has nothing against the move, before the destination is called. */
  calling?: () => void;
}

/** What a destination said. */
export interface There {
  /** Its fingerprint, or "insecure". */
  peer: string;
  /** What it says that it is: "migrate 0.2.0". */
  software: string;
  answer: Answer;
  /** The answer's refusals, with the way out that this host knows. */
  refusals: MigrateError[];
  /** Sentences on what would be different there. */
  changes: readonly string[];
}

export interface DryRun {
  name: string;
  bytes: number;
  /** What of the VM would be sent at most, in bytes: what its files hold, its disks' data, and its RAM. */
  cost: { filesBytes: number; disksBytes: number; ramBytes: number };
  notes: string[];
  there: There | null;
}

/**
 * Goes as far as `send` would before it writes, or tells of the session with which that would begin. Throws MigrateError,
 * as `send` would, if this host refuses the VM or the destination cannot be reached, and "version" if it cannot be asked;
 * what the destination refuses is in what is returned.
 */
export async function dryRun(candidate: Candidate, options: DryRunOptions): Promise<DryRun | Unfinished> {
  const { home, to } = options;
  const journal = Journal.open(home);
  try {
    const address = to === null ? null : addressText(to.address);
    const local = { home, journal, now: () => Date.now() };
    const claim = await claimable(candidate, { ...options, address }, local);
    return "unfinished" in claim ? claim : await departed(claim, options, journal);
  } finally {
    journal.close();
  }
}

async function departed(claim: Claimable, options: DryRunOptions, journal: Journal): Promise<DryRun> {
  const { record, opened } = claim;
  try {
    const { departure, notice } = beginDeparture(opened, record);
    try {
      const there =
        options.to === null ? null : await ask(claim, departure, { ...options, to: options.to, journal });
      return {
        name: record.name,
        bytes: record.bytes,
        cost: costOf(record, departure),
        notes: [
          ...(notice === null ? [] : [notice]),
          ...leftBehind(record),
          ...(there?.changes ?? []),
          ...(isBaseMissing(options, there) ? [missingBase(options.base!)] : []),
        ],
        there,
      };
    } finally {
      await departure.halt();
      departure.close();
    }
  } finally {
    opened.close();
  }
}

type AskOptions = DryRunOptions & { to: NonNullable<DryRunOptions["to"]>; journal: Journal };

async function ask(
  { record, resumed, ends }: Claimable,
  departure: Departure,
  { home, to, base, journal, calling }: AskOptions,
): Promise<There> {
  calling?.();
  const reached = (await to.way?.open()) ?? { address: to.address, ticket: to.ticket };
  const { identity, notice, attests, proves, env } = to;
  const quietly = { observe: () => {}, now: () => Date.now() };
  const tpm = TpmWitness.of({ home, journal, env, proves, ...quietly, mayBegin: false });
  const keeper = ReceiptKeeper.of({ home, journal, identity, tpm });
  const sawOf = keeper === null ? undefined : (fingerprint: string) => keeper.generations(fingerprint).seen;
  const opened = await openSourceLink({ home, identity, notice, sawOf, ...reached });
  const { link, peer, software, asks, policies, receipts: theirs, saw } = opened;
  try {
    const gate = new SourceGate(
      opened,
      { session: "", attempt: 0, name: record.name, kept: record.kept },
      { ...{ home, journal, identity, attests, proves, env }, ...quietly },
    );
    await gate.before("offer");
    if (!asks) {
      throw new MigrateError(
        "version",
        `the destination (${software}) is of a version that cannot be asked`,
        {
          // It refuses nothing: it is this host that does not ask.
          side: "source",
          hint: "migrate send asks it as well, before anything of the VM is sent.",
        },
      );
    }
    requirePolicyKept(record, { knowsPolicies: policies, attested: gate.verdict !== null });
    const receipts = new LinkReceipts({ keeper, journal, side: "source", peer, theirs, saw });
    if (record.mode === "move") await receipts.requireInStep();
    // `send` tells it first of those that were given up while it could not be reached.
    const untold = journal
      .ofPeer("source", peer, 1000)
      .filter(({ state, acknowledged }) => state === "cancelled" && !acknowledged);
    const over = [...ends, ...untold.map(({ session }) => session)].slice(0, limits.endedSessions);
    link.send("ask", {
      ...offerOf(record, departure, {
        ...{ verify: "off", base, generation: keeper?.generations(null).generation },
        allocatedBytes: (file) => takenBy(record.files[file]?.path),
      }),
      ...(resumed === null ? {} : { session: resumed }),
      ...(over.length === 0 ? {} : { ends: over }),
    });
    const { body } = await link.expect("answer");
    return {
      ...{ peer, software, answer: body },
      refusals: body.refused.map(asRefusal),
      // Of a VM that is refused little is told.
      changes: body.refused.length === 0 ? departure.changes(body) : [],
    };
  } finally {
    link.finish();
  }
}

/** As the same would be thrown if it came in answer to an offer. */
function asRefusal(said: Answer["refused"][number]): MigrateError {
  try {
    return refusedOffer(peerError(said, "destination"));
  } catch (thrown) {
    return thrown as MigrateError;
  }
}

function isBaseMissing({ base }: DryRunOptions, there: There | null): boolean {
  return base !== undefined && there !== null && there.answer.baseBytes === undefined;
}

function costOf({ files, bytes }: SessionRecord, { machine, domain }: Departure): DryRun["cost"] {
  const disks = machine?.disks ?? domain?.live?.disks ?? [];
  const sum = (list: readonly { bytes: number }[]) => list.reduce((all, one) => all + one.bytes, 0);
  return {
    filesBytes: files.reduce((all, one) => all + Math.min(one.bytes, takenBy(one.path)), 0),
    disksBytes: disks.reduce((all, one) => all + Math.min(one.bytes, one.allocatedBytes), 0),
    ramBytes: Math.max(0, bytes - sum(files) - sum(disks)),
  };
}

/** The files of a VM that stands still only once it is sent are not open yet. */
function takenBy(path: string | undefined): number {
  const stat = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
  return (stat?.blocks ?? 0) * statBlockBytes;
}
