/**
 * The files of one link's transfer: the source's tags of them, the destination's, and the lanes that send the
 * difference.
 */
import { randomBytes } from "node:crypto";
import { calleeOf } from "../../channel/call.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { deadlines, limits } from "../../protocol/limits.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import { parseInventory } from "../../transfer/chunks/inventory.ts";
import { SourceTags } from "../../transfer/chunks/source-tags.ts";
import { TagTable } from "../../transfer/chunks/tag-table.ts";
import { mostLanes } from "../../transfer/compression/lane-memory.ts";
import { challengeBytes, possessionProof } from "../../transfer/landing/possession.ts";
import { LanePool } from "../../transfer/lanes/lane-pool.ts";
import type { SourceSession } from "./source-session.ts";

/** For how many bytes of the VM another lane is worth its connection. */
const laneWorthBytes = 8 * limits.chunkBytes;

export class SourceFiles {
  readonly #session: SourceSession;
  /** The destination's tags of each file; null if it has nothing of it. */
  readonly #theirs: (TagTable | null)[];
  /** How many tags INVENTORY may still bring. */
  #tagsLeft: number;
  /** What the destination supports, as its ACCEPT tells. */
  #zstd = false;
  #repeats = false;
  #indexKey: Uint8Array | null = null;
  #proves = false;
  #binds = false;
  #challenge: Buffer | undefined;

  constructor(session: SourceSession) {
    this.#session = session;
    this.#theirs = session.tags.map(() => null);
    this.#tagsLeft = session.tags.reduce((sum, { chunks }) => sum + chunks, 0);
  }

  /** True once INVENTORY has brought a tag. */
  get heardTags(): boolean {
    return this.#theirs.some((table) => table !== null);
  }

  /**
   * Takes the payload of an INVENTORY frame. Throws MigrateError "protocol" if it names what the VM does not
   * have, or more tags than the VM has chunks.
   */
  inventory(payload: Buffer): void {
    const known = this.#session.tags;
    const { file, firstChunk, tags } = parseInventory(
      payload,
      known.map(({ chunks }) => chunks),
    );
    // Each tag may come once: a list that starts over could go on forever. An empty frame counts as one tag.
    this.#tagsLeft -= Math.max(1, tags.length);
    if (this.#tagsLeft < 0) {
      throw new MigrateError("protocol", "more tags came than the VM has chunks", { side: "destination" });
    }
    const table = (this.#theirs[file] ??= new TagTable(known[file]!.bytes));
    for (const [i, tag] of tags.entries()) table.set(firstChunk + i, tag);
  }

  /**
   * Takes what ACCEPT offers: with `zstd` the destination accepts compressed chunks, with `copies` also short
   * ones that refer to data which it has received; `index` is the key of its store's index, in hex; with `proves`
   * its READY answers a challenge; with `binds` SEAL may be of more than the files.
   */
  accepted({ zstd, copies, index, proves, binds }: MessageBody<"accept">): void {
    this.#binds = binds === true;
    this.#proves = proves === true;
    this.#zstd = zstd === true;
    this.#repeats = copies === true;
    // On an insecure link the peer is unknown, and hashes of the VM's blocks must not be sent to it.
    const isSecure = this.#session.options.identity !== null;
    this.#indexKey = index === undefined || !isSecure ? null : Buffer.from(index, "hex");
  }

  /** True if the destination knows a digest that holds the VM's UUID and its TPM's key as well. */
  get binds(): boolean {
    return this.#binds;
  }

  /** A fresh challenge for SEAL, in hex; undefined if the destination, an older one, answers none. */
  challenge(): string | undefined {
    this.#challenge = this.#proves ? randomBytes(challengeBytes) : undefined;
    return this.#challenge?.toString("hex");
  }

  /** Throws MigrateError "integrity" if READY does not prove that the destination can read the files. */
  checkProof({ digest, proof }: MessageBody<"ready">): void {
    const { departure } = this.#session.options;
    const challenge = this.#challenge;
    if (challenge === undefined || departure === null) return;
    const tagKey = Buffer.from(this.#session.record.tagKey, "hex");
    const fdOf = (file: number) => departure.files.fd(file);
    const expected = possessionProof({ tagKey, challenge, digest }, this.#session.tags, fdOf);
    if (proof === expected) return;
    throw new MigrateError("integrity", "the destination cannot prove that it has what was sent", {
      side: "source",
    });
  }

  /**
   * These files have changed since they were sent: their tags now tell what the destination has, and they are
   * read anew.
   */
  again(files: readonly number[]): void {
    const { tags } = this.#session;
    for (const file of files) {
      this.#theirs[file] = tags[file]!;
      tags[file] = new SourceTags(tags[file]!.bytes);
    }
  }

  /** Returns the lanes that send what the destination `peer` does not have; `moving` is called while it arrives. */
  lanes(peer: string, laneToken: string, moving: () => void): LanePool {
    const session = this.#session;
    const { address, identity, lanes, compression, departure } = session.options;
    if (departure === null) throw new MigrateError("bug", "there are no files to send");
    const { record, meter } = session;
    const setting = this.#zstd ? compression : "off";
    const fileBytes = record.files.reduce((sum, { bytes }) => sum + bytes, 0);
    return new LanePool({
      callee: calleeOf(address, identity, peer),
      session: record.session,
      laneToken,
      silenceMs: session.options.timing?.silenceMs ?? deadlines.silenceMs,
      moving,
      tagKey: Buffer.from(record.tagKey, "hex"),
      lanes: Math.max(1, Math.min(lanes, mostLanes(setting), Math.ceil(fileBytes / laneWorthBytes))),
      bandwidthBytesPerSec: session.bandwidthBytesPerSec,
      compression: setting,
      indexKey: this.#indexKey,
      repeats: this.#repeats && setting !== "off",
      files: record.files.map((file, i) => ({
        path: file.path!,
        fd: departure.files.fd(i),
        // Disks go first: what the store has of them costs nothing, and pages of the RAM may then repeat it.
        rank: this.#indexKey !== null && file.kind !== "disk" ? 1 : 0,
        tags: session.tags[i]!,
        theirs: this.#theirs[i] ?? null,
      })),
      progress: (file, bytes) => meter.done(file, bytes),
      sent: (bytes, chunks, foundBytes, repeatedBytes) => {
        meter.wire(bytes);
        session.chunksSent += chunks;
        session.foundBytes += foundBytes;
        session.repeatedBytes += repeatedBytes;
      },
    });
  }
}
