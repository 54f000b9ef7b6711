/**
 * What a disk image is, as far as a move must know. Its format is declared, by QEMU, by vm.json or by a person; the
 * bytes are asked only where nobody did, and then refused if they look like more than they may be: on a raw disk a
 * guest writes them.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import {
  diskHeadBytes,
  foreignFault,
  foreignTrailer,
  type HeadFault,
  headFault,
  type ImageFormat,
  readQcow2Head,
} from "../../protocol/disk-head.ts";
import { MigrateError } from "../../protocol/errors.ts";

export type { ImageFormat } from "../../protocol/disk-head.ts";

export interface ImageCheck {
  /** What the sentence of a refusal calls the image. */
  shownAs: string;
  /** What it was declared to be; undefined if nobody has. */
  declared: ImageFormat | undefined;
  /** How a person declares it raw, for the hint: "give it with --raw-disk". */
  declareRaw?: string;
  /** True if a QEMU of ours opens it, which has no key for an encrypted image. */
  forQemu?: boolean;
}

/**
 * Returns the format of a disk image, by path (a link at its end is not followed) or open. One that is declared raw
 * is not read. Throws MigrateError "vm-invalid" for an image that names another file, that is of a format
 * which is neither raw nor qcow2, or that is not what it was declared to be; and as node:fs does.
 */
export function checkImage(image: number | string, check: ImageCheck): ImageFormat {
  if (check.declared === "raw") return "raw";
  if (typeof image === "number") return formatOf(image, check);
  const fd = openSync(image, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return formatOf(fd, check);
  } finally {
    closeSync(fd);
  }
}

function formatOf(fd: number, check: ImageCheck): ImageFormat {
  const head = readAt(fd, 0);
  const fault = headFault(head, check.declared) ?? trailerFault(fd, check.declared);
  if (fault !== null) throw refusal(fault, check);
  const image = readQcow2Head(head);
  if (image?.encrypted && check.forQemu) {
    throw refusal({ says: "is encrypted, and the destination has no key for it" }, check);
  }
  return image === null ? "raw" : "qcow2";
}

function trailerFault(fd: number, declared: ImageFormat | undefined): HeadFault | null {
  if (declared !== undefined) return null;
  const { size } = fstatSync(fd);
  const foreign = size < diskHeadBytes ? null : foreignTrailer(readAt(fd, size - diskHeadBytes));
  return foreign === null ? null : foreignFault(foreign);
}

function readAt(fd: number, at: number): Buffer {
  const buffer = Buffer.alloc(diskHeadBytes);
  return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, at));
}

function refusal(
  { says, looksLike }: HeadFault,
  { shownAs, declared, declareRaw }: ImageCheck,
): MigrateError {
  const convert =
    looksLike === undefined
      ? []
      : [
          `make it a whole qcow2 image while the VM is off: qemu-img convert -f ${looksLike} -O qcow2 ${shownAs} NEW.qcow2`,
        ];
  const declare =
    declared === undefined && declareRaw !== undefined
      ? [`if it is a raw disk on which a guest wrote that, ${declareRaw}`]
      : [];
  const hint = [...convert, ...declare].join("; ");
  return new MigrateError("vm-invalid", `${shownAs} ${says}`, {
    hint: hint === "" ? undefined : `${hint[0]!.toUpperCase()}${hint.slice(1)}`,
  });
}
