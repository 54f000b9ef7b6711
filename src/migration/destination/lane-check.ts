/** Who may open a lane. */
import { timingSafeEqual } from "node:crypto";
import { laneRefused } from "../../transfer/doors/lane-refusal.ts";
import type { SessionRecord } from "../journal/journal.ts";

/**
 * Throws what `laneRefused` gives unless `peer` shows the token that the session's last ACCEPT gave
 * out (`expected`), and the session is its own and being received.
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
