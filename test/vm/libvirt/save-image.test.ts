/** The image of a domain's memory: what it says of the domain is replaced, and the memory stays. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSaveImage, replaceXml } from "../../../src/vm/libvirt/save-image.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "save-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const headerBytes = 92;
const memory = Buffer.from("QEVM and what follows on it");

/** An image as libvirt writes it: numbers by their offsets are replaced by `wrong`. */
function image(xml: string, dataBytes: number, wrong: Record<number, number> = {}): string {
  const header = Buffer.alloc(headerBytes);
  header.write("LibvirtQemudSave");
  header.writeUInt32LE(2, 16);
  header.writeUInt32LE(dataBytes, 20);
  header.writeUInt32LE(1, 24);
  header.writeUInt32LE(xml.length + 1, 32);
  for (const [at, value] of Object.entries(wrong)) header.writeUInt32LE(value, Number(at));
  const data = Buffer.alloc(dataBytes);
  data.write(`${xml}\0<cookie>of the source</cookie>`);
  const path = join(folder, "memory.save");
  writeFileSync(path, Buffer.concat([header, data, memory]));
  return path;
}

const theirs = "<domain type='kvm'><name>theirs</name><emulator>/bin/sh</emulator></domain>";
const ours = "<domain type='kvm'><name>ours</name></domain>";

// [DOM-2]
describe("an image from elsewhere", () => {
  test("says what we say of the domain, and nothing of the source's is left of it, its cookie included", () => {
    const path = image(theirs, 4096);
    expect(readSaveImage(path)).toEqual({ wasRunning: true, dataBytes: 4096, isPlain: true });
    replaceXml(path, ours);
    const now = readFileSync(path);
    const data = now.subarray(headerBytes, headerBytes + 4096);
    expect(data.toString("latin1").replace(/\0+$/, "")).toBe(ours);
    expect(now.readUInt32LE(32)).toBe(0);
    expect(now.subarray(headerBytes + 4096).equals(memory)).toBe(true);
    replaceXml(path, ours);
    expect(readFileSync(path).equals(now)).toBe(true);
  });

  test("with no room for our words is left as it is", () => {
    const path = image("<domain/>", 64);
    const before = readFileSync(path);
    expect(() => replaceXml(path, "x".repeat(64))).toThrow("has no room for its definition");
    expect(readFileSync(path).equals(before)).toBe(true);
    replaceXml(path, "x".repeat(63));
  });

  test.each([
    ["another magic", { 0: 0 }],
    ["a version that is not known", { 16: 3 }],
    ["the other order of bytes", { 16: 0x0200_0000 }],
    ["no text", { 20: 0 }],
    ["a text longer than any", { 20: 0x7fff_ffff }],
  ])("is refused with %s", (_, wrong) => {
    const path = image(theirs, 4096, wrong as Record<number, number>);
    const before = readFileSync(path);
    expect(() => replaceXml(path, ours)).toThrow("is none of libvirt's");
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test("is refused if it ends in its header", () => {
    const path = join(folder, "short");
    writeFileSync(path, "LibvirtQemudSave");
    expect(() => readSaveImage(path)).toThrow("is none of libvirt's");
  });
});
