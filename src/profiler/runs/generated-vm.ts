/**
 * A made-up suspended VM to measure with: RAM and disk of the sizes asked for, with the mix of pages that
 * real ones have, the same for the same seed.
 */
import { createCipheriv, createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { freeBytes } from "../../platform/files/filesystem.ts";
import { MigrateError } from "../../protocol/errors.ts";

const pageBytes = 4096;
const pieceBytes = 1024 * 1024;
/** Left free for others. */
const airBytes = 64 * 1024 * 1024;

/** Throws MigrateError "no-room" if the folder's file system has not so much room. */
export function requireRoom(folder: string, bytes: number): void {
  const free = freeBytes(folder);
  if (bytes + airBytes <= free) return;
  throw new MigrateError(
    "no-room",
    `measuring with these sizes takes ${sizeText(bytes + airBytes)} of room, and ${dirname(folder)} has only ${sizeText(free)} free`,
    {
      side: "source",
      hint: "Choose smaller sizes with --ram and --disk, or set TMPDIR to a folder with more room.",
    },
  );
}

/** "3.5 GiB" */
function sizeText(bytes: number): string {
  const gibibytes = bytes / 1024 ** 3;
  return gibibytes < 1 ? `${Math.ceil(gibibytes * 1024)} MiB` : `${gibibytes.toFixed(1)} GiB`;
}

/**
 * Writes a file of `bytes` bytes into the folder and returns its path: of its pages two in five are zero, one
 * in four reads like text, the rest are random. Throws as node:fs does, or the signal's reason.
 */
export async function writeGuestFile(options: {
  folder: string;
  name: string;
  bytes: number;
  seed: number;
  signal: AbortSignal;
}): Promise<string> {
  const path = join(options.folder, options.name);
  const random = randomStream(`${options.seed} ${options.name}`);
  const descriptor = openSync(path, "wx", 0o600);
  try {
    for (let at = 0; at < options.bytes; at += pieceBytes) {
      const piece = Buffer.alloc(Math.min(pieceBytes, options.bytes - at));
      fillPages(piece, at, random);
      for (let from = 0; from < piece.length; ) from += writeSync(descriptor, piece, from);
      if (at % (64 * pieceBytes) === 0) await Bun.sleep(0);
      options.signal.throwIfAborted();
    }
    return path;
  } finally {
    closeSync(descriptor);
  }
}

function fillPages(piece: Buffer, at: number, random: (target: Buffer) => void): void {
  for (let from = 0; from < piece.length; from += pageBytes) {
    const page = piece.subarray(from, Math.min(piece.length, from + pageBytes));
    // Of 20 pages 8 are left zero, 5 get text, 7 noise; 7 and 20 have no common divisor, so kinds alternate.
    const kind = (((at + from) / pageBytes) * 7) % 20;
    if (kind >= 13) random(page);
    else if (kind >= 8) fillWithText(page, at + from);
  }
}

/** Log lines with a running number. */
function fillWithText(page: Buffer, number: number): void {
  for (let at = 0, line = 0; at < page.length; line++)
    at += page.write(
      `${number + line} guest kernel: eth0: link becomes ready, ${(number * 31 + line * 7) % 9973}\n`,
      at,
    );
}

/** AES-128 in counter mode over zeros: fast, and the same for the same name. */
function randomStream(name: string): (target: Buffer) => void {
  const key = createHash("sha256").update(`migrate profile ${name}`).digest().subarray(0, 16);
  const cipher = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  const zeros = Buffer.alloc(pageBytes);
  return (target) => target.set(cipher.update(zeros.subarray(0, target.length)));
}
