/** What the first look at the other host tells: its answer read, and judged before anything is copied there. Pure. */
import { MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";

/** Whether this account may become root there: it is, by `sudo -n`, only with a password, or not at all. */
export type RootWay = "yes" | "sudo" | "asks" | "none";

export interface RemoteLook {
  system: string;
  machine: string;
  uid: number;
  user: string;
  root: RootWay;
  /** The folder of the copies. */
  cache: string;
  /** The programs of those that are asked for which are there. */
  has: readonly string[];
  /** The hash of the copy of this program, if it is whole. */
  cached: string;
  /** The `migrate` of its PATH, if there is one. */
  inPath?: { path: string; hash: string; version: string };
  /** The account may write the store, or make it. */
  writable: boolean;
  /** The address at which ssh reached that host, as it sees it; absent if it does not say. */
  reachedAt?: string;
}

const mostValueCharacters = 1024;
/** An absolute path that can be a word of a command there. */
const quotable = /^\/[^'!\\]*$/;
const rootWays: readonly string[] = ["yes", "sudo", "asks", "none"];

/** Reads the answer; lines that are none are what a login script printed. Throws MigrateError "protocol". */
export function readLook(text: string, place: string): RemoteLook {
  const has: string[] = [];
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, key, value] = /^migrate:([a-z]{1,20})=(.*)$/.exec(line.trimEnd()) ?? [];
    if (key === undefined || value === undefined || value.length > mostValueCharacters) continue;
    if (key === "has") has.push(value);
    else values.set(key, value);
  }
  const value = (key: string) => values.get(key) ?? "";
  const root = value("root");
  const uid = /^\d{1,10}$/.test(value("uid")) ? Number(value("uid")) : null;
  if (value("end") !== "yes" || uid === null || !rootWays.includes(root)) {
    throw new MigrateError("protocol", `what ${place} answers to a look at it is not what was asked`, {
      side: "destination",
      hint: "Its account may have a shell that runs no commands, or a forced command: ssh HOST uname -s should print Linux and nothing else.",
    });
  }
  const path = value("path");
  const cache = value("cache");
  if (!quotable.test(cache)) {
    throw new MigrateError(
      "policy",
      `the cache folder of the account at ${place} has a name that no shell takes`,
      {
        side: "destination",
        hint: "Set XDG_CACHE_HOME there to an absolute path without quotes.",
      },
    );
  }
  return {
    system: value("system"),
    machine: value("machine"),
    uid,
    user: value("user"),
    root: root as RootWay,
    cache,
    has: has.slice(0, 16),
    cached: value("cached"),
    ...(quotable.test(path)
      ? { inPath: { path, hash: value("pathhash"), version: value("pathversion") } }
      : {}),
    writable: value("writable") === "yes",
    ...reachedAt(value("connection")),
  };
}

/** SSH_CONNECTION of ssh(1): client's address and port, server's address and port. */
function reachedAt(connection: string): { reachedAt?: string } {
  const [, , server = ""] = connection.split(" ");
  return /^[0-9A-Fa-f:.]{2,45}$/.test(server) ? { reachedAt: server } : {};
}

/** `uname -m` of the machines that this program is built for, by the name that node gives them. */
const machineNames: Readonly<Record<string, readonly string[]>> = {
  x64: ["x86_64", "amd64"],
  arm64: ["aarch64", "arm64"],
};

/** Throws MigrateError "policy" if this program, built for `architecture`, cannot run there. */
export function requireSameMachine(look: RemoteLook, architecture: string, place: string): void {
  const [system, machine] = [printable(look.system).slice(0, 40), printable(look.machine).slice(0, 40)];
  if (look.system !== "Linux") {
    throw new MigrateError("policy", `${place} runs ${system || "no system that it names"}, not Linux`, {
      side: "destination",
      hint: "VMs are moved between Linux hosts.",
    });
  }
  if (machineNames[architecture]?.includes(look.machine) === true) return;
  throw new MigrateError(
    "policy",
    `${place} is ${machine || "a machine that it does not name"}, and this program is for ${machineNames[architecture]?.[0] ?? architecture}: it cannot be copied there`,
    {
      side: "destination",
      hint: "A VM that runs needs a host of its own architecture. One that does not run can go there: install migrate there and send to its serve, HOST:PORT.",
    },
  );
}

/** Where the same program as ours lies there already; null if it has to be copied. */
export function programThere(look: RemoteLook, hash: string): string | null {
  if (look.inPath?.hash === hash) return look.inPath.path;
  return look.cached === hash ? `${look.cache}/${hash}/migrate` : null;
}
