/** The disks of a running domain as they are mirrored: what their images are, by qemu-img(1), and what is to be made for them. */
import { closeSync, openSync, readSync } from "node:fs";
import * as v from "valibot";
import { which } from "../../../platform/host.ts";
import { diskHeadBytes, readQcow2Head } from "../../../protocol/disk-head.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { claimedBytes } from "../../../protocol/image-shape.ts";
import { limits } from "../../../protocol/limits.ts";
import type { OfferedDomain } from "../../../protocol/offer.ts";
import { programEnvironment } from "../../../vm/confinement/environment.ts";
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { besidesOf, imageInfo, shapeOf } from "../../../vm/qemu/images/image-info.ts";
import { isDroppable, leftBehind, requireWhole } from "../../../vm/qemu/images/left-behind.ts";
import { invalid, type Refusals } from "../../../vm/qemu/refusals.ts";

export type LiveDisk = NonNullable<OfferedDomain["live"]>["disks"][number];

const infoSchema = v.array(imageInfo);
const bitmapsSchema = v.object({
  data: v.object({ bitmaps: v.optional(v.array(v.object({ name: v.string() })), []) }),
});

/**
 * Looks at the domain's disks, all of which are files; the guest goes on writing to them. Adds to `refusals` what keeps
 * one from being mirrored; `nameOf` gives the name as which one travels. Returns them with sentences on what stays behind or is flattened.
 */
export async function liveDisks(
  { disks }: Domain,
  drop: readonly string[],
  refusals: Refusals,
  nameOf: (target: string) => string,
): Promise<{ disks: LiveDisk[]; notes: string[] }> {
  const found: LiveDisk[] = [];
  const notes: string[] = [];
  for (const { target, path, format, readOnly } of disks) {
    if (path === null || readOnly) continue;
    const chain = await refusals.attemptAsync(() => chainOf(path, format));
    const top = chain?.[0];
    if (chain === undefined || top === undefined) continue;
    const bitmaps = v.safeParse(bitmapsSchema, top["format-specific"]);
    const named = bitmaps.success ? bitmaps.output.data.bitmaps : [];
    const besides = besidesOf(
      top,
      named.map(({ name }) => ({ name, persistent: true })),
    );
    const left = refusals.attempt(() =>
      leftBehind([{ path, besides }], { live: true, drop: drop.filter(isDroppable) }),
    );
    const image = refusals.attempt(() => shapeOf(path, format, top));
    if (left === undefined || image === undefined) continue;
    notes.push(...left.map((what) => `${what} stay behind`));
    if (chain.length > 1) notes.push(`${path} has a backing file, and is flattened on the way`);
    const bytes = top["virtual-size"];
    const dataBytes = chain.reduce((sum, one) => sum + (one["actual-size"] ?? 0), 0);
    found.push({
      target,
      name: nameOf(target),
      format,
      bytes,
      allocatedBytes: Math.min(
        Math.max(Math.min(dataBytes, bytes), claimedBytes(image, bytes)),
        limits.vmBytes,
      ),
      image,
    });
  }
  return { disks: found, notes };
}

/**
 * A domain that runs, and is to go file by file: its disks must be whole by themselves. Throws MigrateError "vm-invalid",
 * which names the way that takes them, and as node:fs does.
 */
export function requireWholeDisks({ disks }: Domain): void {
  const images = disks.flatMap(({ path, format }) => (path === null || format !== "qcow2" ? [] : [path]));
  requireWhole(images.map((path) => ({ path, hasBacking: readHead(path)?.backingFile === true })));
}

function readHead(path: string) {
  const fd = openSync(path, "r");
  try {
    const head = Buffer.alloc(diskHeadBytes);
    return readQcow2Head(head.subarray(0, readSync(fd, head, 0, head.length, 0)));
  } finally {
    closeSync(fd);
  }
}

/** The image and those below it. Throws MigrateError "vm-invalid". */
async function chainOf(path: string, format: string) {
  const program = which("qemu-img");
  if (program === null) {
    throw new MigrateError("policy", "qemu-img is not installed: disks cannot be looked at", {
      side: "source",
      hint: "install QEMU's tools (apt-get install qemu-utils)",
    });
  }
  const words = ["info", "-U", "--backing-chain", "--output=json", "-f", format, path];
  const child = Bun.spawn([program, ...words], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    cwd: "/",
    env: programEnvironment,
    timeout: 30_000,
    killSignal: "SIGKILL",
  });
  const [text, code] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  const said = code === 0 ? v.safeParse(infoSchema, JSON.parse(text)) : undefined;
  if (said?.success) return said.output;
  throw invalid(`qemu-img cannot look at ${path}`, "Is it there, and what the domain says that it is?");
}
