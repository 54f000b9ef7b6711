/**
 * Which chunks a lane has to look at, in order: those that hold data on the source, and those that
 * hold something at the destination where the source has a hole. What both sides are known to agree
 * on is left out. A hole map (SEEK_DATA) spares reading what is not there.
 */
import { nextData, nextHole } from "../../platform/files/holes.ts";
import { chunkLength, limits } from "../../protocol/limits.ts";
import type { SourceTags } from "./source-tags.ts";
import type { TagTable } from "./tag-table.ts";

/**
 * A large file is read at so many places by turns. What lies together is alike: random bytes, for which all wait
 * for the link, then text, for which the link waits for the processors. Mixed, both have something to do.
 */
const places = 4;
const leastPlaceChunks = 64;
/** Chunks handed to a lane at a time. */
const batchChunks = 8;
/** Most chunks in one step that need nothing: 4 GiB. */
const equalChunks = 4096;

export interface PlannedFile {
  fd: number;
  /** Files of a lower rank come first; those of one rank in their order. */
  rank?: number;
  tags: SourceTags;
  /** What the destination has; null if it has nothing. */
  theirs: TagTable | null;
}

export type PlanStep =
  /** Chunks to look at; `have` are the destination's tags, null for zeros. */
  | { kind: "work"; file: number; first: number; count: number; have: Uint8Array | null }
  /** Bytes of a file that need nothing: holes on both sides, or known to be equal. */
  | { kind: "equal"; file: number; bytes: number };

/** The steps for all files, lazily: a file of many TiB is never planned as a whole. */
export function* plan(files: readonly PlannedFile[]): Generator<PlanStep> {
  const inOrder = [...files.entries()].sort(([, a], [, b]) => (a.rank ?? 0) - (b.rank ?? 0));
  for (const [file, planned] of inOrder) {
    const { chunks } = planned.tags;
    const parts = Math.max(1, Math.min(places, Math.floor(chunks / leastPlaceChunks)));
    const boundary = (part: number) => Math.floor((chunks * part) / parts);
    yield* byTurns(
      Array.from({ length: parts }, (_, part) => planPart(file, planned, boundary(part), boundary(part + 1))),
    );
  }
}

/** One step of each in turn, as long as it has any. */
function* byTurns(generators: Generator<PlanStep>[]): Generator<PlanStep> {
  let left = generators;
  while (left.length > 0) {
    const going: Generator<PlanStep>[] = [];
    for (const generator of left) {
      const { value, done } = generator.next();
      if (done) continue;
      yield value;
      going.push(generator);
    }
    left = going;
  }
}

/** The steps for the chunks of a file from `begin` to before `end`. */
function* planPart(
  file: number,
  { fd, tags, theirs }: PlannedFile,
  begin: number,
  end: number,
): Generator<PlanStep> {
  let work: { first: number; count: number } | undefined;
  let equal = { chunks: 0, bytes: 0 };
  const flush = function* (): Generator<PlanStep> {
    if (equal.chunks > 0) yield { kind: "equal", file, bytes: equal.bytes };
    equal = { chunks: 0, bytes: 0 };
    if (work === undefined) return;
    const { first, count } = work;
    work = undefined;
    yield { kind: "work", file, first, count, have: theirs ? theirs.range(first, count) : null };
  };
  for (const { chunk, data } of chunks(fd, begin, end)) {
    const needed = data
      ? !(tags.isKnown(chunk) && same(tags, theirs, chunk))
      : theirs?.isZero(chunk) === false;
    if (needed) {
      if (work?.count === batchChunks) yield* flush();
      work ??= { first: chunk, count: 0 };
      work.count++;
    } else {
      if (work !== undefined || equal.chunks === equalChunks) yield* flush();
      equal.chunks++;
      equal.bytes += chunkLength(tags.bytes, chunk);
    }
  }
  yield* flush();
}

function same(tags: TagTable, theirs: TagTable | null, chunk: number): boolean {
  return theirs === null ? tags.isZero(chunk) : tags.get(chunk).equals(theirs.get(chunk));
}

/** Every chunk of the file from `begin` to before `end`, with whether it holds data on the source. */
function* chunks(fd: number, begin: number, end: number): Generator<{ chunk: number; data: boolean }> {
  let chunk = begin;
  while (chunk < end) {
    const dataAt = nextData(fd, chunk * limits.chunkBytes);
    const firstData = dataAt === null ? end : Math.min(end, Math.floor(dataAt / limits.chunkBytes));
    for (; chunk < firstData; chunk++) yield { chunk, data: false };
    if (dataAt === null || chunk >= end) continue;
    const holeAt = Math.max(nextHole(fd, dataAt), dataAt + 1);
    const lastData = Math.min(end, Math.ceil(holeAt / limits.chunkBytes));
    for (; chunk < lastData; chunk++) yield { chunk, data: true };
  }
}
