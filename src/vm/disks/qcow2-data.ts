/**
 * How much guest data a qcow2 image has, which is more than the file takes if clusters are compressed. QEMU
 * docs/interop/qcow2.rst, "Header", "Cluster mapping", "Extended L2 Entries": all numbers big-endian.
 */
import { readSync } from "node:fs";

const magic = 0x514649fb;
const headerBytes = 104;
const clusterBitsAt = 20;
const virtualSizeAt = 24;
const l1EntriesAt = 36;
const l1OffsetAt = 40;
const incompatibleFeaturesAt = 72;
/** Incompatible feature bit 4, in the lower half: each entry is followed by a bitmap of its 32 subclusters. */
const extendedEntries = 1 << 4;
const [leastClusterBits, mostClusterBits] = [9, 21];
/** QEMU opens no image with more. */
const mostL1Bytes = 32 * 1024 ** 2;
/** Of tables that are read: those of 4 TiB with usual clusters. An image that a guest or a user made up may have more. */
const mostTableBytes = 512 * 1024 ** 2;

/** Bits of the upper and the lower half of an entry. */
const offsetHigh = 0x00ffffff;
const offsetLow = 0xfffffe00;
const compressed = 0x40000000;
const readsAsZeros = 1;

/**
 * Bytes of clusters that hold data in this image alone, without those below it; null if it is no qcow2 image that can be
 * looked into. At most its virtual size. A running QEMU may be changing it: the answer is an estimate. Throws as
 * node:fs does.
 */
export function qcow2DataBytes(fd: number): number | null {
  const header = Buffer.alloc(headerBytes);
  if (readSync(fd, header, 0, headerBytes, 0) < 72 || header.readUInt32BE(0) !== magic) return null;
  const version = header.readUInt32BE(4);
  const clusterBits = header.readUInt32BE(clusterBitsAt);
  const l1Bytes = header.readUInt32BE(l1EntriesAt) * 8;
  if (version < 2 || version > 3 || clusterBits < leastClusterBits || clusterBits > mostClusterBits)
    return null;
  if (l1Bytes > mostL1Bytes) return null;
  const virtualBytes = Number(header.readBigUInt64BE(virtualSizeAt));
  const isExtended =
    version === 3 && (header.readUInt32BE(incompatibleFeaturesAt + 4) & extendedEntries) !== 0;
  const clusterBytes = 2 ** clusterBits;
  const l1 = Buffer.alloc(l1Bytes);
  const table = Buffer.alloc(clusterBytes);
  let [data, read] = [0, readSync(fd, l1, 0, l1Bytes, Number(header.readBigUInt64BE(l1OffsetAt)))];
  for (let at = 0; at + 8 <= l1Bytes; at += 8) {
    const offset =
      (l1.readUInt32BE(at) & offsetHigh) * 2 ** 32 + ((l1.readUInt32BE(at + 4) & offsetLow) >>> 0);
    if (offset === 0) continue;
    read += clusterBytes;
    if (read > mostTableBytes || data >= virtualBytes) return virtualBytes;
    const taken = readSync(fd, table, 0, clusterBytes, offset);
    data += dataIn(table.subarray(0, taken), clusterBytes, isExtended);
  }
  return Math.min(data, virtualBytes);
}

/** Bytes of data to which the entries of one table lead. */
function dataIn(table: Buffer, clusterBytes: number, isExtended: boolean): number {
  const entryBytes = isExtended ? 16 : 8;
  let bytes = 0;
  for (let at = 0; at + entryBytes <= table.length; at += entryBytes) {
    const [high, low] = [table.readUInt32BE(at), table.readUInt32BE(at + 4)];
    if ((high & compressed) !== 0) bytes += clusterBytes;
    else if (((high & offsetHigh) | (low & offsetLow)) !== 0) {
      if (isExtended) bytes += (bitsIn(table.readUInt32BE(at + 12)) * clusterBytes) / 32;
      else if ((low & readsAsZeros) === 0) bytes += clusterBytes;
    }
  }
  return bytes;
}

function bitsIn(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}
