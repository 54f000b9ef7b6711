/** What the source knows of one of its files: the tags that it has computed, and which those are. */
import { TagTable } from "./tag-table.ts";

export class SourceTags extends TagTable {
  readonly #known: Uint8Array;

  constructor(bytes: number) {
    super(bytes);
    this.#known = new Uint8Array(Math.ceil(this.chunks / 8));
  }

  isKnown(index: number): boolean {
    return ((this.#known[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  override set(index: number, tag: Uint8Array): void {
    super.set(index, tag);
    this.#known[index >> 3] = (this.#known[index >> 3] ?? 0) | (1 << (index & 7));
  }
}
