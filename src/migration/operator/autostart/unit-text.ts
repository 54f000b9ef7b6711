/**
 * A systemd unit that starts one VM when its host boots and switches it off when the host goes down, as text:
 * systemd.unit(5), systemd.service(5), systemd.syntax(7). Pure.
 */
import { createHash } from "node:crypto";
import { MigrateError } from "../../../protocol/errors.ts";

export interface UnitWishes {
  name: string;
  /** The VM's folder, absolute. */
  folder: string;
  /** MIGRATE_HOME, absolute. */
  home: string;
  /** The command that starts this program; its first word is an absolute path. */
  self: readonly string[];
  /** Whose unit it is: the system's, or a user's own. */
  scope: "system" | "user";
}

/** What the runtime and the loader (ld.so(8)) honour whatever a program does: each runs code of whoever set it. */
const runsOthersCode =
  "BUN_OPTIONS BUN_BE_BUN BUN_INSPECT BUN_INSPECT_PRELOAD BUN_INSPECT_CONNECT_TO LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT";
/** How long the guest has to switch itself off when the host goes down, in seconds; and what is left for the rest. */
const offSeconds = 90;
const endSeconds = 60;
/** A VM with large memory to lock needs its time. */
const startSeconds = 120;
/** UNIT_NAME_MAX is 255: what is left beside "migrate-vm-", "-", a short hash and ".service". */
const mostNameBytes = 200;

/**
 * The unit's file name: the VM's name, in which every byte that a unit's name may not have, and "\" and "@", is \xNN.
 * Different VMs have different units.
 */
export function unitName(name: string): string {
  const escaped = [...Buffer.from(name)]
    .map((byte) =>
      /[A-Za-z0-9:_.-]/.test(String.fromCharCode(byte))
        ? String.fromCharCode(byte)
        : `\\x${byte.toString(16).padStart(2, "0")}`,
    )
    .join("");
  const short =
    escaped.length <= mostNameBytes
      ? escaped
      : `${escaped.slice(0, mostNameBytes)}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
  return `migrate-vm-${short}.service`;
}

/** What of a unit says which VM it starts. */
export const startWords = (folder: string): string => ["start", folder].map(quoted).join(" ");

/** The unit's text. Throws MigrateError "policy" if this program's path is one that a unit cannot start. */
export function unitText({ name, folder, home, self, scope }: UnitWishes): string {
  const command = (...words: string[]) => [...programWords(self), ...[...words].map(quoted)].join(" ");
  const isSystem = scope === "system";
  return `# Written by migrate autostart: it starts and stops one VM, and outlives migrate serve.
[Unit]
Description=Virtual machine ${plain(name)} (migrate)
${isSystem ? "Wants=network-online.target\nAfter=network-online.target local-fs.target\n" : ""}RequiresMountsFor=${setting(folder)} ${setting(home)}

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=${setting(`MIGRATE_HOME=${home}`)}
UnsetEnvironment=${runsOthersCode}
ExecStart=${command("start", folder)}
ExecStop=-${command("stop", folder, "--timeout", `${offSeconds}s`)}
ExecStop=${command("stop", folder, "--now")}
# QEMU is no child of this unit: what stops it is the commands above.
KillMode=process
TimeoutStartSec=${startSeconds}
TimeoutStopSec=${offSeconds + endSeconds}

[Install]
WantedBy=${isSystem ? "multi-user.target" : "default.target"}
`;
}

/** systemd takes no program with quotes or backslashes in its path (string_is_safe), and replaces no variable in it. */
function programWords([program = "", ...rest]: readonly string[]): string[] {
  if (!program.startsWith("/") || /[$"'\\\u0000-\u001f]/.test(program)) {
    throw new MigrateError("policy", `a unit cannot start ${JSON.stringify(program)}`, {
      hint: "put migrate where its path is absolute and has no quotes, dollars, backslashes or ends of lines in it",
    });
  }
  return [setting(program), ...rest.map(quoted)];
}

/** A word of a command line: as a setting's, and a dollar is doubled. */
function quoted(word: string): string {
  return setting(word).replaceAll("$", "$$$$");
}

/** A value in quotes, with C's escapes, and with "%" doubled. */
function setting(text: string): string {
  const escaped = text
    .replaceAll("\\", "\\\\")
    .replaceAll('"', '\\"')
    .replaceAll("\n", "\\n")
    .replaceAll("\t", "\\t")
    .replaceAll("%", "%%");
  return `"${escaped}"`;
}

/** Words for people: on one line, nothing of them is an escape. */
function plain(text: string): string {
  return text.replaceAll("\\", "/").replaceAll("%", "%%");
}
