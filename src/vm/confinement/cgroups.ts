/**
 * Limits of memory, processors and processes for all programs of a VM together: cgroups(7), version 2, or the
 * controllers of version 1 where those are mounted.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

export interface VmLimits {
  memoryBytes: number;
  /** In processors: 2.5 is two and a half. */
  processors: number;
  /** Processes and threads. */
  tasks: number;
}

type Controller = "memory" | "cpu" | "pids";
const controllers: readonly Controller[] = ["memory", "cpu", "pids"];
const prefix = "migrate-vm-";
/** A group that was made this long ago, and has nobody in it, was left behind. */
const staleMs = 60_000;
const cpuPeriodUs = 100_000;

/** A folder in which groups can be made, and the controllers that these then have. */
interface Place {
  folder: string;
  version: 1 | 2;
  controllers: readonly Controller[];
}

/** What is written to which file of a group. */
function filesOf(controller: Controller, version: 1 | 2, limits: VmLimits): [name: string, value: string][] {
  const quotaUs = Math.round(limits.processors * cpuPeriodUs);
  switch (controller) {
    case "memory":
      return [[version === 2 ? "memory.max" : "memory.limit_in_bytes", String(limits.memoryBytes)]];
    case "pids":
      return [["pids.max", String(limits.tasks)]];
    case "cpu":
      return version === 2
        ? [["cpu.max", `${quotaUs} ${cpuPeriodUs}`]]
        : [
            ["cpu.cfs_period_us", String(cpuPeriodUs)],
            ["cpu.cfs_quota_us", String(quotaUs)],
          ];
  }
}

export class Cgroups {
  readonly #places: readonly Place[];
  readonly #nowMs: () => number;

  private constructor(places: readonly Place[], nowMs: () => number) {
    this.#places = places;
    this.#nowMs = nowMs;
  }

  /**
   * The places in which this process can make groups; tries each. `proc` is proc(5)'s folder of this process,
   * `nowMs` the clock of the file system.
   */
  static find(proc = "/proc/self", nowMs: () => number = Date.now): Cgroups {
    const places = candidates(proc).filter((place) => {
      try {
        const trial = new Cgroups([place], nowMs);
        trial.make(`trial-${process.pid}`, { memoryBytes: 2 ** 30, processors: 1, tasks: 64 });
        trial.remove(`trial-${process.pid}`);
        return true;
      } catch {
        return false;
      }
    });
    // A process is in one group of version 2; what that has not, one of version 1 may have.
    const unified = places.filter(({ version }) => version === 2);
    const most = Math.max(...unified.map((place) => place.controllers.length));
    const best = unified.find((place) => place.controllers.length === most);
    const taken = new Set<Controller>();
    return new Cgroups(
      [...(best ? [best] : []), ...places.filter(({ version }) => version === 1)].flatMap((place) => {
        const more = place.controllers.filter((controller) => !taken.has(controller));
        for (const controller of more) taken.add(controller);
        return more.length === 0 ? [] : [{ ...place, controllers: more }];
      }),
      nowMs,
    );
  }

  /** What cannot be limited here, in the words of a sentence. */
  get unlimited(): string[] {
    const names = { memory: "memory", cpu: "processor time", pids: "number of threads" };
    return controllers
      .filter((controller) => !this.#places.some((place) => place.controllers.includes(controller)))
      .map((controller) => names[controller]);
  }

  /** Makes a group of these limits, and returns the files by which a process joins it. Throws as node:fs does. */
  make(id: string, limits: VmLimits): string[] {
    this.#sweep();
    return this.#places.map((place) => {
      const folder = join(place.folder, prefix + id);
      mkdirSync(folder, { recursive: true });
      try {
        for (const controller of place.controllers) {
          for (const [name, value] of filesOf(controller, place.version, limits)) {
            writeFileSync(join(folder, name), value);
          }
        }
      } catch (thrown) {
        rmdirSync(folder);
        throw thrown;
      }
      return join(folder, "cgroup.procs");
    });
  }

  /** Removes a group; one that still has processes stays, and goes with a later one. */
  remove(id: string): void {
    for (const { folder } of this.#places) removeEmpty(join(folder, prefix + id));
  }

  /** Whoever started a VM may be gone when it ends: its group goes when another is made. */
  #sweep(): void {
    for (const { folder } of this.#places) {
      // A unit that starts a VM (migrate autostart) has a group beside ours, with a point in its name.
      const ours = (entry: string) => entry.startsWith(prefix) && !entry.includes(".");
      for (const name of readdirSync(folder).filter(ours)) {
        const path = join(folder, name);
        if (this.#nowMs() - (statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? 0) > staleMs)
          removeEmpty(path);
      }
    }
  }
}

/** Removes the group of a VM that has ended, wherever this process would make one. Never throws. */
export function removeGroup(id: string, proc = "/proc/self"): void {
  for (const { folder } of candidates(proc)) removeEmpty(join(folder, prefix + id));
}

function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // It has processes, or is gone.
  }
}

/** Where groups could be made, by the mounts and the group of this process. */
function candidates(proc: string): Place[] {
  const own = ownGroups(readFileSync(`${proc}/cgroup`, "utf8"));
  return readFileSync(`${proc}/mountinfo`, "utf8")
    .split("\n")
    .flatMap((line): Place[] => {
      const [mount = "", filesystem = ""] = line.split(" - ");
      const [, , , root = "/", at = ""] = mount.split(" ");
      const [type, , options = ""] = filesystem.split(" ");
      const below = (group: string) => join(at, group.startsWith(root) ? group.slice(root.length) : group);
      if (type === "cgroup2") {
        const folder = below(own.get("") ?? "/");
        // A group that has processes gives its own groups no controllers: ours stand beside it.
        return [...new Set([folder === at ? at : dirname(folder), at])].flatMap(placeOfVersion2);
      }
      if (type !== "cgroup") return [];
      const found = controllers.filter((controller) => options.split(",").includes(controller));
      return found.length === 0
        ? []
        : [{ folder: below(own.get(found[0]!) ?? "/"), version: 1, controllers: found }];
    });
}

function placeOfVersion2(folder: string): Place[] {
  try {
    const has = (name: string) => readFileSync(join(folder, name), "utf8").trim().split(" ");
    for (const controller of controllers) {
      if (!has("cgroup.controllers").includes(controller)) continue;
      if (has("cgroup.subtree_control").includes(controller)) continue;
      writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
    }
    const given = has("cgroup.subtree_control");
    const found = controllers.filter((controller) => given.includes(controller));
    return found.length === 0 ? [] : [{ folder, version: 2, controllers: found }];
  } catch {
    return [];
  }
}

/** The group of this process by controller; "" for version 2. cgroups(7), /proc/PID/cgroup. */
function ownGroups(text: string): Map<string, string> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [, names = "", group] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
      return group === undefined ? [] : names.split(",").map((name): [string, string] => [name, group]);
    }),
  );
}
