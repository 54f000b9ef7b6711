/** The limits of the throughput of a drive, as QEMU has them now (QEMU qapi/block-core.json, BlockDeviceInfo). */
import * as v from "valibot";

/** Names of limits in query-block. */
export const rates: readonly string[] = ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"];
export const limitNames: readonly string[] = [
  ...rates.flatMap((rate) => [rate, `${rate}_max`, `${rate}_max_length`]),
  "iops_size",
];

/** What query-block has of a drive's limits; what is absent is not limited. */
export const limitEntries = Object.fromEntries(limitNames.map((name) => [name, v.optional(v.number(), 0)]));

/** By its name in query-block. */
export type Limits = Readonly<Record<string, number>>;

/** The limits of what query-block says is in a drive, read with `limitEntries`. */
export function limitsIn(inserted: object): Limits {
  const all = inserted as Readonly<Record<string, unknown>>;
  return Object.fromEntries(limitNames.map((name) => [name, Number(all[name] ?? 0)]));
}
