/**
 * The environment of a process that this program starts. An environment can load code: LD_PRELOAD and its kin into
 * any program (ld.so(8)), BUN_OPTIONS, BUN_BE_BUN and BUN_INSPECT_PRELOAD into one that Bun has compiled. So what this
 * process was given is not handed down, but for a closed list.
 */

/** What another process of this very program may look at: where its home and its TPM are, and how it writes. */
const handedDown = [
  ...["PATH", "HOME", "MIGRATE_HOME", "XDG_STATE_HOME", "TMPDIR", "MIGRATE_DEBUG"],
  ...["MIGRATE_TPM", "MIGRATE_EVENT_LOG", "MIGRATE_IMA_LOG"],
  ...["TERM", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE"],
];

/** The environment of another process of this program, with `changes` in it. */
export function childEnvironment(
  changes: Readonly<Record<string, string>> = {},
  env: Readonly<Record<string, string | undefined>> = process.env,
): Record<string, string> {
  const own = handedDown.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
  return { PATH: "/usr/bin:/bin", ...Object.fromEntries(own), ...changes };
}
