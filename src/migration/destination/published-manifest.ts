/** The vm.json that the destination writes for a VM: its files, its digests, and who owns it. */
import { join } from "node:path";
import { limits } from "../../protocol/limits.ts";
import type { VmPolicy } from "../../protocol/vm-policy.ts";
import { type Manifest, readManifest, serialiseManifest } from "../../vm/folder/manifest.ts";
import { relativePath } from "../../vm/folder/staging.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { SealedBound } from "../providers/provider.ts";
import { providerOf } from "../providers/providers.ts";

/**
 * Returns the text of vm.json for a sealed session; `nowMs` is Unix time, `stamps` are those of its files in their
 * order. The same record always results in the same text, except for the time.
 */
export function publishedManifest(record: SessionRecord, nowMs: number, stamps: readonly string[]): string {
  const { disks, changes, definition, here, manager, passing = [] } = providerOf(record).published(record);
  const { bound, vmPolicy } = (record.kept ?? {}) as { bound?: SealedBound; vmPolicy?: VmPolicy };
  const manifest: Manifest = {
    format: "migrate-vm/1",
    name: record.name,
    id: record.vm,
    files: [
      ...disks.map(({ name, format }) => ({ kind: "disk" as const, file: name, format })),
      ...record.files.flatMap((file, i) =>
        passing.includes(file.kind)
          ? []
          : [
              {
                kind: file.kind,
                file: relativePath(file),
                bytes: file.bytes,
                ...(file.format === undefined ? {} : { format: file.format }),
                ...(file.digest === undefined || changes ? {} : { digest: file.digest, stamp: stamps[i]! }),
              },
            ],
      ),
    ],
    ...(record.digest === null || changes
      ? {}
      : {
          digest: {
            algorithm: "aes-128-gmac-tree" as const,
            chunkBytes: limits.chunkBytes,
            key: record.tagKey,
            vm: record.digest,
            ...(bound === undefined ? {} : { bound: true }),
          },
        }),
    ...(vmPolicy === undefined ? {} : { policy: vmPolicy }),
    ...(bound?.ek === undefined ? {} : { tpm: { ek: bound.ek } }),
    ...(definition === undefined ? {} : { definition }),
    ...(here === undefined ? {} : { here: { ...here } }),
    ...(manager === undefined ? {} : { manager }),
    ownership: {
      state: record.mode === "copy" ? "copy" : "owner",
      session: record.session,
      from: record.peer,
      since: new Date(nowMs).toISOString(),
    },
  };
  return serialiseManifest(manifest);
}

/** True if this session published the folder, according to its vm.json. */
export function isPublishedBy(folder: string, session: string): boolean {
  try {
    return readManifest(join(folder, "vm.json")).ownership?.session === session;
  } catch {
    return false;
  }
}
