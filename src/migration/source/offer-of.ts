/** OFFER as a source makes it, of what its journal has of the VM and what leaves. */
import { limits } from "../../protocol/limits.ts";
import type { Offer, VerifyKind } from "../../protocol/offer.ts";
import { offeredOf } from "../../protocol/vm-policy.ts";
import type { SessionRecord } from "../journal/journal.ts";
import { releaseHash } from "../journal/release-code.ts";
import type { Departure } from "../providers/departure.ts";
import { policyOf } from "./gate/own-policy.ts";

/** What OFFER takes of a record. */
export type Offering = Pick<
  SessionRecord,
  "name" | "vm" | "mode" | "tagKey" | "provider" | "release" | "files" | "kept"
>;

/** What is said of a base that the destination does not have. Pure. */
export const missingBase = (base: string): string =>
  `the destination has no VM ${base} to take anything from`;

/** Returns the message's body. `departure` is null if the session only has to end. Pure but for what `departure` knows. */
export function offerOf(
  { name, vm, mode, tagKey, provider, release, files, kept }: Offering,
  departure: Pick<Departure, "machine" | "domain"> | null,
  {
    verify,
    base,
    generation,
    allocatedBytes,
  }: {
    /** How far this host is, where it gives receipts. */
    generation?: number | undefined;
    verify?: VerifyKind | undefined;
    base?: string | undefined;
    /** Bytes that a file takes here, by its number. */
    allocatedBytes: (file: number) => number;
  },
): Offer {
  const policy = offeredOf(policyOf({ kept }));
  return {
    ...{ name, vm, mode, chunkBytes: limits.chunkBytes, tagKey, provider },
    ...(release === null ? {} : { release: releaseHash(release) }),
    ...(generation === undefined ? {} : { generation }),
    ...(verify === undefined ? {} : { verify }),
    ...(policy === undefined ? {} : { policy }),
    ...(departure?.machine === undefined ? {} : { machine: departure.machine }),
    ...(departure?.domain === undefined ? {} : { domain: departure.domain }),
    ...(base === undefined ? {} : { base }),
    files: files.map(({ kind, name: file, bytes, format }, i) => ({
      kind,
      name: file,
      bytes,
      ...(format === undefined ? {} : { format }),
      allocatedBytes: allocatedBytes(i),
    })),
  };
}
