/** What a source says of a destination that has begun anew, while a VM that cannot be taken up again was on its way. */
import { MigrateError } from "../../protocol/errors.ts";

/** The move ends because the destination has forgotten what had arrived: whoever took it in has ended since. */
export function startedAnew(name: string): MigrateError {
  const said = `migrate serve was started anew at the destination, and what had arrived of ${name} is gone`;
  return new MigrateError("cancelled", said, {
    side: "destination",
    hint: "the VM goes on here as before; run the same command again",
  });
}
