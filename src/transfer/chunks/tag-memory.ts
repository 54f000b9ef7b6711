/**
 * How much memory the tags of all arriving VMs take together. What is too much is written to a nameless file of
 * the store and read again if it is needed: a peer that fills one chunk here and one there, in many files of
 * 8 TiB, would else make this host keep 128 MiB for each.
 */
import { closeSync, readSync, writeSync } from "node:fs";
import { openNameless } from "../../platform/files/filesystem.ts";

/** Slabs in memory, of 64 KiB each: 32 MiB, the tags of 2 TiB that are full of data. */
const mostSlabs = 512;

/** Who has slabs that may be written out. */
export interface SlabOwner {
  /** Writes the slab out and keeps it no longer. Throws as node:fs does; it is kept then. */
  spill(number: number): void;
}

/** In the order in which they were used last. */
const inMemory = new Map<Buffer, { owner: SlabOwner; number: number }>();

/** A slab is in use now. Writes out what was used longest ago if there are too many. Throws as node:fs does. */
export function useSlab(slab: Buffer, owner: SlabOwner, number: number): void {
  inMemory.delete(slab);
  inMemory.set(slab, { owner, number });
  if (inMemory.size <= mostSlabs) return;
  const [oldest, { owner: its, number: at }] = inMemory.entries().next().value!;
  its.spill(at);
  inMemory.delete(oldest);
}

/** A slab is not needed any more. */
export function dropSlab(slab: Buffer): void {
  inMemory.delete(slab);
}

/** The file of one table, made when it is needed first. */
export class SlabFile {
  readonly #folder: string;
  #fd: number | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  write(number: number, slab: Buffer): void {
    this.#fd ??= openNameless(this.#folder);
    for (let at = 0; at < slab.length; ) {
      at += writeSync(this.#fd, slab, at, slab.length - at, number * slab.length + at);
    }
  }

  read(number: number, slab: Buffer): void {
    for (let at = 0; at < slab.length; ) {
      const taken = readSync(this.#fd!, slab, at, slab.length - at, number * slab.length + at);
      if (taken === 0) throw new Error("a file of tags is shorter than it was");
      at += taken;
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
