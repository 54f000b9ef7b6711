/** Which build this is. */
import { version } from "../../protocol/software.ts";

/** Put in by scripts/build.ts; absent when run from the sources. */
declare const MIGRATE_COMMIT: string | undefined;

export const build = {
  version,
  commit: typeof MIGRATE_COMMIT === "string" ? MIGRATE_COMMIT : "not built",
};
