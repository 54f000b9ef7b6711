/** What each cutting found, as Markdown. */
import type { Overlap } from "./overlap.ts";

export interface ChunkingRow {
  title: string;
  overlap: Overlap;
  /** Bytes of the old and of the new image in pages with data. */
  oldBytes: number;
  newBytes: number;
}

const mib = 2 ** 20;
const gib = 2 ** 30;

/** The table of one pair of images, with a note on what its columns mean. */
export function chunkingTable(title: string, rows: readonly ChunkingRow[]): string {
  const head = [
    "cut into",
    "found MiB",
    "found %",
    "at the same offset %",
    "left to send MiB",
    "index entries / GiB",
    "CPU s cutting / GiB",
    "CPU s hashing / GiB",
  ];
  const lines = rows.map(({ title: cutting, overlap, oldBytes, newBytes }) => {
    const bothGib = (oldBytes + newBytes) / gib;
    return [
      cutting,
      (overlap.foundBytes / mib).toFixed(0),
      ((100 * overlap.foundBytes) / newBytes).toFixed(1),
      ((100 * overlap.inPlaceBytes) / newBytes).toFixed(1),
      ((newBytes - overlap.foundBytes) / mib).toFixed(0),
      ((overlap.entries * gib) / oldBytes).toFixed(0),
      (overlap.cutSeconds / bothGib).toFixed(2),
      (overlap.hashSeconds / bothGib).toFixed(2),
    ];
  });
  const rule = ["---", ...head.slice(1).map(() => "---:")];
  const newMib = ((rows[0]?.newBytes ?? 0) / mib).toFixed(0);
  return [
    `${title}. The disk has ${newMib} MiB in pages that are not all zeros; the figures are of those.`,
    "",
    ...[head, rule, ...lines].map((cells) => `| ${cells.join(" | ")} |`),
    "",
    "Content-defined chunks are cut here in plain JavaScript: their CPU time is that of this code, native code needs less. Their averages are what is aimed at.",
  ].join("\n");
}
