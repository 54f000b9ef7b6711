/** Carrying out a plan in this process: from `migrate confined` to the program, confined. */
import { writeFileSync } from "node:fs";
import { landlockVersion, restrictTo } from "../../platform/confine/landlock.ts";
import { unshareNamespaces } from "../../platform/confine/mounts.ts";
import { become, hardLimit, setLimit } from "../../platform/confine/program.ts";
import {
  becomeUser,
  dropCapabilities,
  emptyBoundingSet,
  endWithParent,
  leaveKeyring,
  setNoNewPrivs,
} from "../../platform/confine/rights.ts";
import { programEnvironment } from "./environment.ts";
import type { Plan } from "./plan.ts";
import { enterView, programFiles } from "./view.ts";

/** What of a plan could be had; for `probe`. */
export interface Confined {
  /** Landlock's version; 0 if there is none. */
  landlock: number;
  /** The bounding set is empty. */
  bounded: boolean;
}

/**
 * Gives up everything that the plan does not leave to the program. Only the calling thread counts: nothing but
 * `become` may follow. Throws a SystemError, or as node:fs does, if a part of it cannot be had.
 */
export function confine(plan: Plan, program: string): Confined {
  const files = [...programFiles(program, plan.network), ...plan.files];
  for (const path of plan.cgroups) writeFileSync(path, "0");
  setLimit("core", 0);
  setLimit("files", Math.min(plan.descriptors, hardLimit("files")));
  if (plan.view) {
    unshareNamespaces({ network: plan.network === "none" });
    enterView(files);
  }
  process.chdir(plan.cwd);
  process.umask(0o077);
  const bounded = emptyBoundingSet();
  if (plan.user !== null) becomeUser(plan.user.uid, plan.user.gid, plan.user.groups);
  leaveKeyring();
  dropCapabilities();
  setNoNewPrivs();
  // Another user's process does not keep this.
  if (plan.endsWithParent === true) endWithParent();
  // In a view of one's own proc(5) shows oneself alone.
  const proc = plan.view ? [{ path: "/proc", right: "read" } as const] : [];
  if (plan.landlock) restrictTo({ files: [...files, ...proc], network: plan.network === "host" });
  return { landlock: landlockVersion(), bounded };
}

/** Confines this process and becomes the program: argv, with its absolute path first. Never returns. */
export function becomeConfined(plan: Plan, argv: readonly string[]): never {
  confine(plan, argv[0] ?? "");
  become(argv, programEnvironment, { kept: plan.kept });
}
