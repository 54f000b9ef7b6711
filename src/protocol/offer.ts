/** OFFER: how a source describes a VM that it wants to move, and what of it can be checked without a store. Pure. */
import * as v from "valibot";
import { imageFormats } from "./disk-head.ts";
import { MigrateError } from "./errors.ts";
import { count, hex, named } from "./fields.ts";
import { imageShape, shapeFault } from "./image-shape.ts";
import { limits } from "./limits.ts";
import { checkFileName, checkVmName } from "./names.ts";
import { processor, qemuVersion } from "./processor.ts";
import { generation } from "./receipt.ts";
import { offeredPolicy } from "./vm-policy.ts";

/** `boot`: what a running VM was started from and never writes (kernel, firmware, a read-only image). */
export const fileKinds = ["ram", "disk", "tpm", "boot"] as const;
export type FileKind = (typeof fileKinds)[number];

/**
 * `auto`: the destination reads back what it has written where that is cheap, since memory holds it all. `disk`: it
 * reads it from the disk, whatever that takes. `off`: it does not.
 */
export const verifyKinds = ["auto", "disk", "off"] as const;
export type VerifyKind = (typeof verifyKinds)[number];

/** From where the destination has read back what it had written. */
export const readBackKinds = ["memory", "disk", "none"] as const;
export type ReadBack = (typeof readBackKinds)[number];

const file = v.object({
  kind: v.picklist(fileKinds),
  name: named(checkFileName),
  bytes: count(limits.vmBytes),
  /** Bytes that the file takes on the source's disk; a hint for the room it needs. */
  allocatedBytes: count(limits.vmBytes * 2),
  /** What a disk or a boot file is declared to be; a source of an earlier version declares nothing. */
  format: v.optional(v.picklist(imageFormats)),
});

/** A disk that is mirrored while its VM runs. */
const mirroredDisk = {
  name: named(checkFileName),
  format: v.picklist(imageFormats),
  /** The size that the guest sees. */
  bytes: count(limits.vmBytes),
  allocatedBytes: count(limits.vmBytes * 2),
  /** How its image is to be made; a source of an earlier version leaves that to the destination. */
  image: v.optional(imageShape),
};

/** What a running VM is started from at the destination, and what of it comes on streams. */
const machine = v.object({
  /** True if the disks are mirrored while it runs; else they are among the files. */
  live: v.boolean(),
  /** True if the VM is paused, and is to stay so. */
  paused: v.optional(v.boolean()),
  /** What the VM is (SPEC.md, The definition of a VM); vm/qemu/definition/schema.ts says what it may hold. */
  definition: v.pipe(
    v.custom<Record<string, unknown>>(
      (value) => typeof value === "object" && value !== null && !Array.isArray(value),
      "is no object",
    ),
    v.check((model) => Buffer.byteLength(JSON.stringify(model)) <= limits.modelBytes, "is too long"),
  ),
  /** The mirrored disks, in the order of the definition. */
  disks: v.pipe(v.array(v.object(mirroredDisk)), v.maxLength(limits.files)),
  /** Channels of the RAM beside the main one (QEMU's multifd). */
  channels: count(limits.ramStreams - 1),
  /** The destination gives the session up once no connection has spoken for it for so long. */
  patienceMs: count(0xffff_ffff),
  /** False: its cards are not to say where it is once it goes on; so at the source. */
  announce: v.optional(v.boolean()),
  /** False: its agent is not to be asked to set its clock, should it have stood still. */
  setTime: v.optional(v.boolean()),
  /** The QEMU under which it runs; absent if the destination is not to compare it with its own. */
  qemu: v.optional(qemuVersion),
  /** The processor that the guest has there; absent if the destination is not to compare it. */
  processor: v.optional(processor),
});
export type OfferedMachine = v.InferOutput<typeof machine>;

/** A disk as its domain names it: vda, sdb, xvdc. */
const diskTarget = v.pipe(v.string(), v.regex(/^[a-z]{2,4}[a-z]{1,3}$/));
/** Firmware variables of UEFI are some hundred KiB. */
const nvramBytes = 64 * 1024 * 1024;

const domainXml = v.pipe(
  v.string(),
  v.check((xml) => Buffer.byteLength(xml) <= limits.domainBytes, "is too long"),
);

/** A VM of libvirt: its definitions (SPEC.md, The definition of a libvirt domain), and how it is at the source. */
const domain = v.object({
  /** What the domain is defined as; absent if it has no definition that outlives it. */
  defined: v.optional(domainXml),
  /** What of it runs, or is saved; absent if it is switched off. */
  active: v.optional(domainXml),
  /**
   * "off": switched off. "saved": its memory is in a file, and it is to stay so. "running" and "paused": as it is to be at
   * the destination; its memory is in a file, or comes on a stream.
   */
  state: v.picklist(["off", "saved", "running", "paused"]),
  /** It is to be started with its host. */
  autostart: v.boolean(),
  /** As in `machine`. */
  setTime: v.optional(v.boolean()),
  /** It is moved while it runs: its memory and its disks come on streams; absent if all of it is files. */
  live: v.optional(
    v.object({
      /** The mirrored disks, in their order, and what is to be made for each. */
      disks: v.pipe(v.array(v.object({ ...mirroredDisk, target: diskTarget })), v.maxLength(limits.files)),
      /** The size of its NVRAM, whose contents come with its memory; absent if it has none. */
      nvram: v.optional(v.object({ name: named(checkFileName), bytes: count(nvramBytes) })),
      /** As in `machine`. */
      patienceMs: count(0xffff_ffff),
    }),
  ),
});
export type OfferedDomain = v.InferOutput<typeof domain>;

export const offer = v.object({
  name: named(checkVmName),
  vm: v.pipe(v.string(), v.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)),
  mode: v.picklist(["move", "copy"]),
  chunkBytes: v.literal(limits.chunkBytes),
  tagKey: hex(32),
  files: v.pipe(v.array(file), v.maxLength(limits.files)),
  /** A VM of the destination's store from which much of this one may be taken. */
  base: v.optional(named(checkVmName)),
  /** Whether the destination is to read back what it has written, before it is ready. */
  verify: v.optional(v.picklist(verifyKinds)),
  /** The hash of the code that the source tells a person once it has released the VM. */
  release: v.optional(hex(64)),
  /** The source's generation, where it gives receipts. */
  generation: v.optional(generation),
  /** What the VM is moved by; a source of an earlier version leaves it out (`providerName`). */
  provider: v.optional(v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/))),
  /** The VM's own policy; absent if it has none. A source says it only where WELCOME has `policies`. */
  policy: v.optional(offeredPolicy),
  /** A VM that runs under QEMU; absent if it is files alone. */
  machine: v.optional(machine),
  /** A VM of libvirt; absent if it is none. */
  domain: v.optional(domain),
});
export type Offer = v.InferOutput<typeof offer>;

/** The provider of an offer: the one that it names, or the one that its fields are of. */
export function providerName({ provider, machine }: Pick<Offer, "provider" | "machine">): string {
  return provider ?? (machine === undefined ? "files" : "qemu");
}

export type OfferedFile = Offer["files"][number];

/** The disks of an offered VM that do not come as chunks. */
export function mirroredDisks({ machine, domain }: Pick<Offer, "machine" | "domain">) {
  return machine?.disks ?? domain?.live?.disks ?? [];
}

/** True if a file of this kind may be a disk image, which a program opens as such. */
export function isImage(kind: FileKind): boolean {
  return kind === "disk" || kind === "boot";
}

/**
 * What the schema cannot say: throws MigrateError "limit" for a VM that is too large, "name-invalid" if two
 * files would lie in one place, "protocol" for a VM of nothing.
 */
export function checkOffer(offer: Offer): void {
  const { files, machine, domain } = offer;
  if ((providerName(offer) === "qemu") !== (machine !== undefined)) {
    throw new MigrateError("protocol", "offer.provider: the machine and the provider do not fit together");
  }
  if ((providerName(offer) === "libvirt") !== (domain !== undefined)) {
    throw new MigrateError("protocol", "offer.provider: the domain and the provider do not fit together");
  }
  if (files.length === 0 && machine === undefined && domain?.live === undefined) {
    throw new MigrateError("protocol", "offer.files: a VM has at least one file");
  }
  if (files.some(({ kind, format }) => format !== undefined && !isImage(kind))) {
    throw new MigrateError(
      "protocol",
      "offer.files: only a disk and what a VM is started from have a format",
    );
  }
  const disks = mirroredDisks(offer);
  for (const disk of disks) {
    const fault = disk.image && shapeFault(disk.image, disk);
    if (fault) throw new MigrateError("protocol", `offer: an image cannot be made so: ${fault}`);
  }
  if (files.length + disks.length > limits.files) {
    throw new MigrateError("limit", `a VM may have at most ${limits.files} files`);
  }
  const total = [...files, ...disks].reduce((sum, { bytes }) => sum + bytes, 0);
  if (total > limits.vmBytes) {
    throw new MigrateError("limit", `the VM claims ${total} bytes; the limit is ${limits.vmBytes}`);
  }
  // A TPM's files lie in a folder of that name beside the others.
  const isTpm = ({ kind }: OfferedFile) => kind === "tpm";
  const names = new Set(files.map((file) => `${isTpm(file) ? "tpm/" : ""}${file.name}`));
  for (const { name } of disks) names.add(name);
  // A running VM's TPM gets its folder at the destination, whatever is in the files.
  const hasTpm = files.some(isTpm) || machine !== undefined || domain !== undefined;
  if (names.size !== files.length + disks.length || (hasTpm && names.has("tpm"))) {
    throw new MigrateError("name-invalid", "two files of the VM have the same name");
  }
}
