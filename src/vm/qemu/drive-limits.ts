/**
 * Whether a VM's drives have the limits of throughput that its command line gives. They may be set anew while it runs
 * (QEMU qapi/block-core.json, block_set_io_throttle), and a destination is told of the command line's alone.
 */
import type { Part, TextPair } from "./definition/model.ts";
import { type Limits, limitNames, rates } from "./images/drive-limits.ts";
import { invalid } from "./refusals.ts";

/**
 * Throws MigrateError "vm-invalid" if a drive has other limits than its command line gives. `limitsOf` returns those of a
 * file's drive, and what it is called; undefined if QEMU has none of it.
 */
export function requireLimitsOf(
  parts: readonly Part[],
  limitsOf: (file: number) => { called: string; limits: Limits } | undefined,
): void {
  const given = limitsGiven(parts);
  for (const part of parts) {
    if ((part.kind !== "drive" && part.kind !== "blockdev") || part.file === null) continue;
    const now = limitsOf(part.file);
    const other =
      now && limitNames.find((name) => (now.limits[name] ?? 0) !== (given.get(part)?.[name] ?? 0));
    if (now === undefined || other === undefined) continue;
    const [is, was] = [now.limits[other] ?? 0, given.get(part)?.[other] ?? 0];
    throw invalid(
      `The drive ${now.called} was given another limit since the VM was started: ${other} is ${is}, and was ${was}`,
      "Set it back (block_set_io_throttle), or restart the VM with it on its command line.",
    );
  }
}

/** What the command line gives to each drive that it limits. Of a group the last one's limits are everybody's. */
function limitsGiven(parts: readonly Part[]): Map<Part, Limits> {
  const groups = new Map<string, Limits>();
  const members = new Map<Part, string>();
  for (const [n, part] of parts.entries()) {
    if (part.kind !== "drive") continue;
    const limits = limitsSaid(part.pairs);
    // A drive without limits is in no group either (blockdev.c, blockdev_init).
    if (Object.values(limits).every((limit) => limit === 0)) continue;
    const named = part.pairs.find(({ key }) => key === "group" || key === "throttling.group");
    const group = named === undefined ? `a drive's own, ${n}` : `group ${named.value}`;
    groups.set(group, limits);
    members.set(part, group);
  }
  return new Map([...members].map(([part, group]) => [part, groups.get(group)!]));
}

function limitsSaid(pairs: readonly TextPair[]): Limits {
  const limits: Record<string, number> = {};
  for (const { key, value } of pairs) {
    const name = nameOf(key);
    if (limitNames.includes(name)) limits[name] = Number(value);
  }
  for (const rate of rates) {
    // A burst lasts for a second unless told (include/qemu/throttle.h).
    if ((limits[`${rate}_max`] ?? 0) > 0) limits[`${rate}_max_length`] ??= 1;
  }
  return limits;
}

const ends: Readonly<Record<string, string>> = { total: "", read: "_rd", write: "_wr" };

/** "throttling.bps-read-max" is what "bps_rd_max" was before, and in query-block still is (blockdev.c). */
function nameOf(key: string): string {
  const parsed = /^throttling\.(bps|iops)-(total|read|write|size)((?:-max)?(?:-length)?)$/.exec(key);
  if (parsed === null) return key;
  const [, what, which, more] = parsed;
  return `${what}${ends[which!] ?? `_${which}`}${more!.replaceAll("-", "_")}`;
}
