/**
 * One zstd frame as it may come from a peer (RFC 8878, section 3.1.1): looked through from its header
 * to its last block before a byte is allocated for what is in it.
 *
 * The look is what keeps a bomb out. The decoder takes a row of frames for one, decodes a frame that
 * does not say how much it holds, and passes over skippable frames; a small payload could thereby
 * claim any amount of memory. So the one form that our own compressor writes is let through: a
 * single frame that declares its content, without a dictionary, that ends where the payload ends.
 * Pure.
 */
import { MigrateError } from "../../protocol/errors.ts";

const magic = 0xfd2fb528;
/** What a decoder must be able to hold by RFC 8878, section 3.1.1.1.2; ours never writes more. */
const mostWindowBytes = 8 * 1024 * 1024;
const blockHeaderBytes = 3;
/** Block_Type (section 3.1.1.2.2); 3 is reserved. */
const rleBlock = 1;
const reservedBlock = 3;

const wrong = (what: string, cause?: unknown) =>
  new MigrateError("protocol", `what came compressed ${what}`, { cause });

/**
 * The size in bytes that the header of this zstd frame declares for its content. Of the frame, its
 * header alone is read.
 * @throws MigrateError "protocol" if it is no zstd frame, is cut short, declares no size, needs a
 * dictionary or a window above 8 MiB, or sets a reserved bit.
 */
export function zstdContentBytes(frame: Buffer): number {
  return readHeader(frame).contentBytes;
}

/**
 * What is in a frame: at most `mostBytes` bytes. Nothing is allocated for a frame that declares more
 * than that, and what it declares is what comes out.
 * @throws MigrateError "protocol" if the header is refused by `zstdContentBytes`, the declared size
 * is above `mostBytes`, the payload is not one whole frame to its last byte, or does not decode to
 * what it declares.
 */
export function decompressBody(frame: Buffer, mostBytes: number): Buffer {
  const header = readHeader(frame);
  const { contentBytes } = header;
  if (contentBytes > mostBytes) throw wrong(`declares ${contentBytes} bytes; ${mostBytes} are possible`);
  checkBlocks(frame, header);
  let content: Buffer;
  try {
    content = Bun.zstdDecompressSync(frame);
  } catch (thrown) {
    throw wrong("cannot be decompressed", thrown);
  }
  if (content.length !== contentBytes) throw wrong("does not hold what it declares");
  return content;
}

interface Header {
  contentBytes: number;
  hasChecksum: boolean;
  /** Where the first block begins. */
  blocksAt: number;
}

function readHeader(frame: Buffer): Header {
  if (frame.length < 5) throw wrong("is cut short");
  if (frame.readUInt32LE(0) !== magic) throw wrong("is no zstd frame");
  const descriptor = frame[4]!;
  const singleSegment = (descriptor & 0x20) !== 0;
  // Bit 3 is reserved and must be zero; bit 4 is unused and says nothing, but nobody sets it.
  if ((descriptor & 0x18) !== 0) throw wrong("sets a bit that is reserved");
  if ((descriptor & 0x03) !== 0) throw wrong("needs a dictionary");
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 2 ** sizeFlag;
  if (sizeBytes === 0) throw wrong("does not declare its size");
  const sizeAt = singleSegment ? 5 : 6;
  const blocksAt = sizeAt + sizeBytes;
  if (frame.length < blocksAt) throw wrong("is cut short");
  // A single segment needs its content as window and no more.
  if (!singleSegment && windowBytes(frame[5]!) > mostWindowBytes) throw wrong("needs too large a window");
  return {
    contentBytes: declared(frame, sizeAt, sizeBytes),
    hasChecksum: (descriptor & 0x04) !== 0,
    blocksAt,
  };
}

/** Window_Descriptor: five bits of exponent, three of mantissa (section 3.1.1.1.2). */
function windowBytes(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 0x07);
}

/** Frame_Content_Size (section 3.1.1.1.4); of two bytes it counts from 256. */
function declared(frame: Buffer, at: number, bytes: number): number {
  if (bytes === 1) return frame[at]!;
  if (bytes === 2) return frame.readUInt16LE(at) + 256;
  if (bytes === 4) return frame.readUInt32LE(at);
  const size = frame.readBigUInt64LE(at);
  // Beyond any limit, and exact as a number for an error to name.
  return size > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(size);
}

/** Walks the blocks by their headers: the frame must end with the payload, with nothing behind it. */
function checkBlocks(frame: Buffer, { hasChecksum, blocksAt }: Header): void {
  let at = blocksAt;
  for (let last = false; !last; ) {
    if (at + blockHeaderBytes > frame.length) throw wrong("is cut short");
    const block = frame.readUIntLE(at, blockHeaderBytes);
    const type = (block >> 1) & 0x03;
    const size = block >> 3;
    last = (block & 0x01) !== 0;
    if (type === reservedBlock) throw wrong("has a block of a kind that is reserved");
    // An empty block carries nothing; a row of them would keep the decoder busy for no data.
    if (size === 0 && !last) throw wrong("has an empty block");
    at += blockHeaderBytes + (type === rleBlock ? 1 : size);
  }
  if (hasChecksum) at += 4;
  if (at > frame.length) throw wrong("is cut short");
  if (at < frame.length) throw wrong("has something behind its end");
}
