/** Who may open a lane. */
import { timingSafeEqual } from "node:crypto";
import { MigrateError } from "../protocol/errors.ts";
import type { SessionRecord } from "./journal.ts";

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

/** To one who may not have it, a session that is there and one that is not are the same. */
export function laneRefused(): MigrateError {
  return new MigrateError("policy", "this lane belongs to no session that is being received", {
    side: "destination",
  });
}
