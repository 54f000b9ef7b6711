/** Decides who may open a lane. */
import { timingSafeEqual } from "node:crypto";
import { laneRefused } from "../../transfer/doors/lane-refusal.ts";
import type { SessionRecord } from "../journal/journal.ts";

/**
 * Throws the error of `laneRefused` unless the session is being received, belongs to `peer`, and `laneToken`
 * (hex) is the token of the session's last ACCEPT (`expected`). Compares in constant time.
 */
export function checkLane(
  record: SessionRecord | null,
  expected: Buffer | undefined,
  laneToken: string,
  peer: string,
): void {
  if (record === null || expected === undefined) throw laneRefused();
  const given = Buffer.from(laneToken, "hex");
  if (record.peer !== peer || record.state !== "receiving" || !timingSafeEqual(expected, given)) {
    throw laneRefused();
  }
}
