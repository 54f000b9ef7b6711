/**
 * A RAM stream as QEMU 7.2 saves it (migration/savevm.c and migration/ram.c), made in a test: a header, sections
 * with pages, and of each page where it lies.
 */
import { u32, u64 } from "../../../support/files/big-endian.ts";

const pageBytes = 4096;
const flags = { zero: 0x02, memSize: 0x04, page: 0x08, eos: 0x10, goesOn: 0x20 };
const sections = { start: 0x01, part: 0x02, footer: 0x7e };

export interface SavedStream {
  data: Buffer;
  /** Where the contents of whole pages lie that go on in the RAM block of the page before. */
  places: number[];
  /** The same of those that name their block. */
  named: number[];
}

export interface SavedStreamOptions {
  /** Pages of one RAM block in order: 4096 bytes, or the byte of which all of it is. */
  pages: readonly (Buffer | number)[];
  /** The number of the first one. */
  firstPage?: number;
  /** A new section begins behind so many pages. */
  sectionPages?: number;
  /** Behind so many pages the block is named anew, as where QEMU went to another one and came back. */
  blockPages?: number;
}

const text = (value: string) => Buffer.concat([Buffer.of(value.length), Buffer.from(value)]);

export function savedStream({
  pages,
  firstPage = 0,
  sectionPages = 512,
  blockPages = Number.POSITIVE_INFINITY,
}: SavedStreamOptions): SavedStream {
  const parts: Buffer[] = [];
  const places: number[] = [];
  const named: number[] = [];
  let at = 0;
  const put = (...more: Buffer[]) => {
    for (const part of more) {
      parts.push(part);
      at += part.length;
    }
  };
  const end = () => put(u64(flags.eos), Buffer.of(sections.footer), u32(2));
  // Magic and version, then the section that tells what RAM blocks there are.
  put(Buffer.from("QEVM"), u32(3), Buffer.of(sections.start), u32(2), text("ram"), u32(0), u32(4));
  put(u64((pages.length * pageBytes) | flags.memSize), text("pc.ram"), u64(pages.length * pageBytes));
  end();
  pages.forEach((page, i) => {
    if (i % sectionPages === 0) put(Buffer.of(sections.part), u32(2));
    const isNamed = i % blockPages === 0 || i === 0;
    const kind = typeof page === "number" ? flags.zero : flags.page;
    put(u64((firstPage + i) * pageBytes + kind + (isNamed ? 0 : flags.goesOn)));
    if (isNamed) put(text("pc.ram"));
    if (typeof page === "number") put(Buffer.of(page));
    else {
      (isNamed ? named : places).push(at);
      put(page);
    }
    if ((i + 1) % sectionPages === 0 || i + 1 === pages.length) end();
  });
  return { data: Buffer.concat(parts), places, named };
}
