/** What a process may do and see, as the kernel tells it: proc(5), status, limits, cgroup, ns. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface ProcessRights {
  /** Real, effective, saved, of the file system. */
  uids: number[];
  gids: number[];
  groups: number[];
  /** Inheritable, permitted, effective, bounding, ambient; each as a number. */
  capabilities: bigint[];
  noNewPrivs: boolean;
  /** 2: a filter of system calls. */
  seccomp: number;
  /** Signals that are ignored although the program did not ask for it would be here. */
  blockedSignals: bigint;
}

export function rightsOf(pid: number): ProcessRights {
  const text = readFileSync(`/proc/${pid}/status`, "latin1");
  const words = (name: string): string[] => {
    const line = new RegExp(`^${name}:(.*)$`, "m").exec(text)?.[1] ?? "";
    return line
      .trim()
      .split(/\s+/)
      .filter((word) => word !== "");
  };
  const mask = (name: string) => BigInt(`0x${words(name)[0] ?? "bad"}`);
  return {
    uids: words("Uid").map(Number),
    gids: words("Gid").map(Number),
    groups: words("Groups").map(Number),
    capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(mask),
    noNewPrivs: words("NoNewPrivs")[0] === "1",
    seccomp: Number(words("Seccomp")[0]),
    blockedSignals: mask("SigBlk"),
  };
}

export type NamespaceName = "mnt" | "net" | "ipc" | "uts" | "user";

/** Whether the process has that namespace to itself, as far as we are concerned. */
export function hasOwn(pid: number, name: NamespaceName): boolean {
  return readlinkSync(`/proc/${pid}/ns/${name}`) !== readlinkSync(`/proc/self/ns/${name}`);
}

/**
 * The mount namespace of a process, as long as one of its threads lives: the first one may be gone before the others,
 * which hold its files and its locks for a moment. Undefined if it has ended.
 */
export function mountsOf(pid: number): string | undefined {
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      try {
        return readlinkSync(`/proc/${pid}/task/${thread}/ns/mnt`);
      } catch {
        // That thread has ended.
      }
    }
  } catch {
    // It has ended.
  }
  return undefined;
}

/** A limit of the process (soft and hard), by its name in /proc/PID/limits: "Max open files". */
export function limitsOf(pid: number, name: string): string[] {
  const line = readFileSync(`/proc/${pid}/limits`, "latin1")
    .split("\n")
    .find((one) => one.startsWith(name));
  return (line ?? "").slice(26).trim().split(/\s+/).slice(0, 2);
}

/** The cgroups of the process, one for each hierarchy. */
export function cgroupsOf(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/cgroup`, "latin1");
  return text.split("\n").flatMap((line) => /^\d+:[^:]*:(.*)$/.exec(line)?.[1] ?? []);
}

/** The environment that the process was started with. */
export function environmentOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/environ`, "latin1")
    .split("\0")
    .filter((word) => word !== "");
}

/** What the descriptors of the process lead to. */
export function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
}
