/**
 * Which chunks a lane has to look at, in order: those that hold data on the source, and those that
 * hold something at the destination where the source has a hole. What both sides are known to agree
 * on is left out. A hole map (SEEK_DATA) spares reading what is not there.
 */
import { nextData, nextHole } from "../platform/holes.ts";
import { chunkLength, limits } from "../protocol/limits.ts";
import type { SourceTags } from "./source-tags.ts";
import type { TagTable } from "./tag-table.ts";

/** Chunks handed to a lane at a time. */
const batchChunks = 8;
/** Most chunks in one step that need nothing: 4 GiB. */
const rightChunks = 4096;

export interface PlannedFile {
  fd: number;
  tags: SourceTags;
  /** What the destination has; null where it has nothing. */
  theirs: TagTable | null;
}

export type PlanStep =
  /** Chunks to look at; `have` are the destination's tags, null for zeros. */
  | { kind: "work"; file: number; first: number; count: number; have: Uint8Array | null }
  /** Bytes of a file that need nothing: holes on both sides, or known to be equal. */
  | { kind: "right"; file: number; bytes: number };

/** The steps for all files, lazily: a file of many TiB is never planned as a whole. */
export function* plan(files: readonly PlannedFile[]): Generator<PlanStep> {
  for (const [file, planned] of files.entries()) yield* planFile(file, planned);
}

function* planFile(file: number, { fd, tags, theirs }: PlannedFile): Generator<PlanStep> {
  let work: { first: number; count: number } | undefined;
  let right = { chunks: 0, bytes: 0 };
  const flush = function* (): Generator<PlanStep> {
    if (right.chunks > 0) yield { kind: "right", file, bytes: right.bytes };
    right = { chunks: 0, bytes: 0 };
    if (work === undefined) return;
    const { first, count } = work;
    work = undefined;
    yield { kind: "work", file, first, count, have: theirs ? theirs.range(first, count) : null };
  };
  for (const { chunk, data } of chunks(fd, tags)) {
    const needed = data
      ? !(tags.isKnown(chunk) && same(tags, theirs, chunk))
      : theirs?.isZero(chunk) === false;
    if (needed) {
      if (work?.count === batchChunks) yield* flush();
      work ??= { first: chunk, count: 0 };
      work.count++;
    } else {
      if (work !== undefined || right.chunks === rightChunks) yield* flush();
      right.chunks++;
      right.bytes += chunkLength(tags.bytes, chunk);
    }
  }
  yield* flush();
}

function same(tags: TagTable, theirs: TagTable | null, chunk: number): boolean {
  return theirs === null ? tags.isZero(chunk) : tags.get(chunk).equals(theirs.get(chunk));
}

/** Every chunk of the file with whether it holds data on the source. */
function* chunks(fd: number, tags: TagTable): Generator<{ chunk: number; data: boolean }> {
  let chunk = 0;
  while (chunk < tags.chunks) {
    const dataAt = nextData(fd, chunk * limits.chunkBytes);
    const firstData =
      dataAt === null ? tags.chunks : Math.min(tags.chunks, Math.floor(dataAt / limits.chunkBytes));
    for (; chunk < firstData; chunk++) yield { chunk, data: false };
    if (dataAt === null || chunk >= tags.chunks) continue;
    const end = Math.max(nextHole(fd, dataAt), dataAt + 1);
    const lastData = Math.min(tags.chunks, Math.ceil(end / limits.chunkBytes));
    for (; chunk < lastData; chunk++) yield { chunk, data: true };
  }
}
