/**
 * The head of a disk image on its way to the disk: one that names another file never lies there, not even between
 * two looks, since a QEMU may have the image open already. Pure.
 */
import { diskHeadBytes, headFault } from "../../protocol/disk-head.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { Chunk } from "../chunks/chunk.ts";
import type { GrantedFile } from "./lane-grant.ts";

/** Throws MigrateError "vm-invalid" if this chunk would give an image a head that it may not have. */
export function checkHead({ chunk, runs, body, pagesAt }: Chunk, { bytes, image }: GrantedFile): void {
  if (chunk !== 0 || image === undefined || image === "raw") return;
  // A chunk that does not begin with a run begins with zeros.
  const headBytes = Math.min(diskHeadBytes, bytes);
  const head =
    runs[0]?.firstPage === 0 ? body.subarray(pagesAt, pagesAt + headBytes) : Buffer.alloc(headBytes);
  const fault = headFault(head, image === "unknown" ? undefined : image);
  if (fault === null) return;
  throw new MigrateError("vm-invalid", `an image ${fault.says}`, { side: "destination" });
}
