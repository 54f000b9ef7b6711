/** For a VM that stands still while it is sent: of its move nothing can be changed but the bandwidth. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import type { Tuning } from "../report/tuning.ts";

/** Throws MigrateError "policy", naming what cannot be changed; `why` is a sentence. */
export function requireBandwidthAlone(tuning: Tuning, why: string): void {
  const what =
    tuning.downtimeLimitMs !== undefined
      ? "downtime limit"
      : tuning.autoConverge !== undefined
        ? "auto-converge"
        : null;
  if (what === null) return;
  throw new MigrateError("policy", `${why}: there is no ${what} to change`, {
    side: "source",
    hint: "The bandwidth can be changed: --bandwidth RATE.",
  });
}
