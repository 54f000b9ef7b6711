/**
 * What of a running VM's disks a move does not carry. The mirror of a live move carries what the guest sees and
 * nothing else (QEMU docs/interop/live-block-operations.rst). Pure.
 */
import { basename } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Besides } from "./image-info.ts";

/** What a person may let a move leave behind. */
export const droppable = ["snapshots", "bitmaps"] as const;
export type Droppable = (typeof droppable)[number];

export function isDroppable(what: string): what is Droppable {
  return (droppable as readonly string[]).includes(what);
}

interface Disk {
  path: string;
  besides: Besides;
}

interface Rest {
  kind: Droppable;
  what: string;
  /** Why it stays: ends a sentence. */
  why: string;
  wayOut: string;
}

/**
 * Returns what stays behind at the source, each as "the internal snapshots of web1.qcow2 (before)". Throws MigrateError
 * "policy", with all of it, unless `drop` allows that.
 */
export function leftBehind(
  disks: readonly Disk[],
  { live, drop }: { live: boolean; drop: readonly Droppable[] },
): string[] {
  const rests = disks.flatMap((disk) => restsOf(disk, live));
  const kept = rests.filter(({ kind }) => !drop.includes(kind));
  if (kept.length === 0) return rests.map(({ what }) => what);
  const ways = [...new Set(kept.map(({ wayOut }) => wayOut))];
  throw new MigrateError("policy", kept.map(({ what, why }) => `${what} ${why}`).join("; "), {
    side: "source",
    hint: ways.join(" "),
  });
}

/**
 * Throws MigrateError "vm-invalid" if part of a disk is in another image: what goes file by file must be whole by
 * itself.
 */
export function requireWhole(disks: readonly { path: string; hasBacking: boolean }[]): void {
  const backed = disks.find(({ hasBacking }) => hasBacking);
  if (backed === undefined) return;
  throw new MigrateError("vm-invalid", `${backed.path} is not a whole disk: it has a backing file`, {
    side: "source",
    hint: "--mode live flattens it on the way.",
  });
}

function restsOf({ path, besides }: Disk, live: boolean): Rest[] {
  const { snapshots, bitmaps, passingBitmaps } = besides;
  const of = (what: string, names: readonly string[]) => `${what} of ${basename(path)} (${names.join(", ")})`;
  const byMirror = "cannot be carried by a live move";
  const rests: (Rest & { names: readonly string[] })[] = [
    {
      kind: "snapshots",
      names: live ? snapshots : [],
      what: of("the internal snapshots", snapshots),
      why: byMirror,
      wayOut: "--mode stop keeps the snapshots; --drop snapshots moves the VM without them.",
    },
    {
      kind: "bitmaps",
      names: live ? bitmaps : [],
      what: of("the dirty bitmaps", bitmaps),
      why: byMirror,
      wayOut:
        "--mode stop keeps the bitmaps; --drop bitmaps moves the VM without them: its next backup is a full one.",
    },
    {
      kind: "bitmaps",
      names: passingBitmaps,
      what: of("the dirty bitmaps in QEMU's memory", passingBitmaps),
      why: "cannot be carried by any move",
      wayOut: "--drop bitmaps moves the VM without those: whoever made them begins anew.",
    },
  ];
  return rests.filter(({ names }) => names.length > 0);
}
