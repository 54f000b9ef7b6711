/** An empty disk image for a QEMU to mirror into: of the size that the guest sees, made as it was at the source. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { statBlockBytes } from "../../../platform/files/filesystem.ts";
import { which } from "../../../platform/host.ts";
import { diskHeadBytes, type ImageFormat, readQcow2Head } from "../../../protocol/disk-head.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { type ImageShape, type Qcow2Shape, usualQcow2 } from "../../../protocol/image-shape.ts";

export interface BlankImage {
  format: ImageFormat;
  /** The size that the guest sees. */
  bytes: number;
  /** How it is made: qemu-img's own way if absent, without a block of its own. */
  image?: ImageShape | undefined;
}

/** Returns the command that starts a program confined, for its own. */
type Confined = (argv: readonly string[]) => string[];

/** How long qemu-img may take: to reserve room means to write it where the file system cannot. */
const makeTimeoutMs = 90_000;

/**
 * Makes the image at `path`, mode 0600, where nothing may be yet. A raw one without preallocation is a hole; all others
 * are made by qemu-img(1), which is started with the command that `confined` returns for its own once there is a file,
 * and looked at. Throws MigrateError "qemu-failed" if that fails, and as node:fs does (EEXIST, ENOSPC).
 */
export async function makeBlankImage(
  path: string,
  blank: BlankImage,
  confined: Confined = (argv) => [...argv],
): Promise<void> {
  const { format, bytes, image = {} } = blank;
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const byHand = format === "raw" && image.preallocation === undefined;
  const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    if (byHand) ftruncateSync(fd, bytes);
    else await create(path, blank, confined);
    if (!byHand && !isAsAsked(fd, blank)) throw failed("made another image than it was asked for");
  } finally {
    closeSync(fd);
  }
}

async function create(
  path: string,
  { format, bytes, image = {} }: BlankImage,
  confined: Confined,
): Promise<void> {
  const options = optionsOf(image);
  const command = [
    ...[which("qemu-img") ?? "qemu-img", "create", "-q", "-f", format],
    ...(options === "" ? [] : ["-o", options]),
    // qemu-img takes "a:b" for a protocol; a path that begins with a slash it does not.
    ...[path, String(bytes)],
  ];
  const child = Bun.spawn(confined(command), {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
    timeout: makeTimeoutMs,
    killSignal: "SIGKILL",
  });
  if ((await child.exited) === 0) return;
  throw failed(child.signalCode === "SIGKILL" ? "took too long to make a disk" : "could not make a disk");
}

/** qemu-img's -o. What it would do anyway is left out: an older one does not know all of these. */
function optionsOf({ preallocation, qcow2 }: ImageShape): string {
  const flag = (value: boolean) => (value ? "on" : "off");
  const words: Record<keyof Qcow2Shape, (shape: Qcow2Shape) => string> = {
    compat: ({ compat }) => `compat=${compat}`,
    clusterBytes: ({ clusterBytes }) => `cluster_size=${clusterBytes}`,
    refcountBits: ({ refcountBits }) => `refcount_bits=${refcountBits}`,
    lazyRefcounts: ({ lazyRefcounts }) => `lazy_refcounts=${flag(lazyRefcounts)}`,
    extendedL2: ({ extendedL2 }) => `extended_l2=${flag(extendedL2)}`,
    compression: ({ compression }) => `compression_type=${compression}`,
  };
  const names = (Object.keys(words) as (keyof Qcow2Shape)[]).filter(
    (name) => qcow2 !== undefined && qcow2[name] !== usualQcow2[name],
  );
  return [
    ...names.map((name) => words[name](qcow2!)),
    ...(preallocation === undefined ? [] : [`preallocation=${preallocation}`]),
  ].join(",");
}

/** Looks at the image that qemu-img made. */
function isAsAsked(fd: number, { format, bytes, image = {} }: BlankImage): boolean {
  const stat = fstatSync(fd);
  const { preallocation } = image;
  if (preallocation !== undefined && stat.size < bytes) return false;
  if (preallocation === "falloc" && stat.blocks * statBlockBytes < bytes) return false;
  if (format === "raw") return stat.size === bytes;
  const buffer = Buffer.alloc(diskHeadBytes);
  const head = readQcow2Head(buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0)));
  if (head === null || head.backingFile || head.dataFile || head.encrypted) return false;
  const asked = image.qcow2;
  return (
    head.virtualBytes === BigInt(bytes) &&
    (asked === undefined ||
      (head.version === (asked.compat === "0.10" ? 2 : 3) &&
        head.clusterBytes === asked.clusterBytes &&
        head.refcountBits === asked.refcountBits &&
        head.lazyRefcounts === asked.lazyRefcounts &&
        head.extendedL2 === asked.extendedL2 &&
        head.compression === asked.compression))
  );
}

function failed(how: string): MigrateError {
  return new MigrateError("qemu-failed", `the destination's qemu-img ${how}`, { side: "destination" });
}
