/** What the journal keeps of a libvirt domain, on either side. */
import type { OfferedDomain } from "../../../protocol/offer.ts";
import type { VmPolicy } from "../../../protocol/vm-policy.ts";
import type { Landed } from "../../../vm/folder/staging.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { OwnFile } from "../files/retire.ts";
import type { SealedBound } from "../provider.ts";
import type { KeptSeal } from "../tpm-at-source.ts";

/** What the source needs to end the session, or to have the domain as it was, after this process has died. */
export interface SourceLibvirtRecord extends KeptSeal {
  side: "source";
  uri: string;
  uuid: string;
  domain: string;
  /** Its definition, as libvirt gave it with all it needs to be defined again; null if it had none. */
  definition: string | null;
  autostart: boolean;
  /** How it is to be at the destination. */
  state: OfferedDomain["state"];
  /** True if this session saves the domain's memory: it is started again if it stays here. */
  saves: boolean;
  /** True: its agent sets its clock if it goes on here from its image. */
  setsTime?: boolean;
  /** The image of its memory, once that is there. */
  image: OwnFile | null;
  /** This program has stopped it in the middle of a live move, so that it gets done: it is to go on if it stays here. */
  forced?: true;
  /** It was moved while it ran. */
  isLive: boolean;
  /** The state of its TPM, if that came with its memory. */
  tpmStateDir: string | null;
  /** That folder's identity (vm/folder/file-identity.ts); absent in records of earlier versions. */
  tpmStateIs?: string;
  /** Files that are mirrored, or written anew at the destination: they do not travel as chunks. */
  retire: readonly OwnFile[];
  /** Its definition was taken away here, and the destination may have heard of the release. */
  withdrawn: boolean;
}

export function sourceLibvirtRecord({ provider, side, kept }: SessionRecord): SourceLibvirtRecord | null {
  return provider === "libvirt" && side === "source" ? (kept as SourceLibvirtRecord | null) : null;
}

/** What the destination keeps of the offer, and of what was sealed. */
export interface ArrivingLibvirtRecord extends OfferedDomain {
  side: "destination";
  landed?: Landed;
  /** What the seal held together beside the files. */
  bound?: SealedBound;
  /** The VM's own policy, if it has one. */
  vmPolicy?: VmPolicy;
}

export function arrivingLibvirtRecord({
  provider,
  side,
  kept,
}: Pick<SessionRecord, "provider" | "side" | "kept">): ArrivingLibvirtRecord | null {
  return provider === "libvirt" && side === "destination" ? (kept as ArrivingLibvirtRecord | null) : null;
}
