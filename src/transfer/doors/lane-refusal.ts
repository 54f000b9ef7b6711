/** The answer to a source whose lane or stream is not let in. */
import { MigrateError } from "../../protocol/errors.ts";

/** To one who may not have it, a session that is there and one that is not are the same. */
export function laneRefused(): MigrateError {
  return new MigrateError("policy", "this lane belongs to no session that is being received", {
    side: "destination",
  });
}
