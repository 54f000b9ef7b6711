/**
 * The image in which libvirt saves a domain's memory: a header, the domain's XML, and QEMU's stream (libvirt
 * src/qemu/qemu_saveimage.h, struct _virQEMUSaveHeader).
 */
import { closeSync, fsyncSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { MigrateError } from "../../protocol/errors.ts";

const magic = "LibvirtQemudSave";
/** The magic, and 19 numbers of 32 bits. */
const headerBytes = magic.length + 19 * 4;
/** Where the numbers that matter are. */
const at = { version: 16, dataBytes: 20, wasRunning: 24, format: 28, cookie: 32 } as const;
/** Versions whose header is of this form. */
const versions = [1, 2];
/** The XML and what is left free behind it; libvirt leaves 64 KiB. */
const mostDataBytes = 16 * 2 ** 20;

export interface SaveImage {
  /** The domain ran when it was saved. */
  wasRunning: boolean;
  /** Room for the XML, in bytes. */
  dataBytes: number;
  /** QEMU's stream as QEMU has written it; else libvirt has a program read it, and root runs that. */
  isPlain: boolean;
}

/**
 * Throws MigrateError "vm-invalid" if `replaceXml` will not take the image for a definition of `xmlBytes` bytes, or it ends
 * before its memory begins; and as node:fs does.
 */
export function requireReplaceable(path: string, xmlBytes: number): void {
  const { dataBytes, isPlain } = readSaveImage(path);
  if (!isPlain) throw compressed();
  if (xmlBytes + 1 > dataBytes) throw noRoom();
  if (statSync(path).size <= headerBytes + dataBytes) throw none();
}

/** Reads the header. Throws MigrateError "vm-invalid" if it is none of a saved domain, and as node:fs does. */
export function readSaveImage(path: string): SaveImage {
  const fd = openSync(path, "r");
  try {
    return headerOf(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Replaces the domain's XML in the image, and what libvirt keeps behind it, with `xml`: what an image from elsewhere says
 * of the domain is nobody's to read. The memory stays where it is. Idempotent; durable when it returns. Throws
 * MigrateError "vm-invalid" if that is no image of a saved domain, or has no room for the XML, and as node:fs does.
 */
export function replaceXml(path: string, xml: string): void {
  const text = Buffer.from(xml);
  const fd = openSync(path, "r+");
  try {
    const { dataBytes, isPlain } = headerOf(fd);
    if (!isPlain) throw compressed();
    // A zero ends it.
    if (text.length + 1 > dataBytes) {
      throw noRoom();
    }
    const data = Buffer.alloc(dataBytes);
    text.copy(data);
    // The cookie first: an offset into another text must not be there if this is cut short.
    writeSync(fd, Buffer.alloc(4), 0, 4, at.cookie);
    fsyncSync(fd);
    writeSync(fd, data, 0, data.length, headerBytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function headerOf(fd: number): SaveImage {
  const header = Buffer.alloc(headerBytes);
  if (readSync(fd, header, 0, headerBytes, 0) !== headerBytes) throw none();
  if (header.toString("latin1", 0, magic.length) !== magic) throw none();
  // Written in the order of the host that saved it: libvirt moves no domain between the two.
  if (!versions.includes(header.readUInt32LE(at.version))) throw none();
  const dataBytes = header.readUInt32LE(at.dataBytes);
  if (dataBytes === 0 || dataBytes > mostDataBytes) throw none();
  return {
    wasRunning: header.readUInt32LE(at.wasRunning) === 1,
    dataBytes,
    isPlain: header.readUInt32LE(at.format) === 0,
  };
}

function none(): MigrateError {
  return new MigrateError("vm-invalid", "the image of the domain's memory is none of libvirt's");
}

function noRoom(): MigrateError {
  return new MigrateError("vm-invalid", "the image of the domain's memory has no room for its definition");
}

/** An image that libvirt has compressed (`save_image_format` of qemu.conf). */
export function compressed(): MigrateError {
  return new MigrateError("vm-invalid", "the image of the domain's memory is compressed", {
    hint: 'Set save_image_format = "raw" in /etc/libvirt/qemu.conf at the source, restart libvirtd, and start the domain before it is moved; or move it while it runs.',
  });
}
