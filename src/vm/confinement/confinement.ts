/**
 * How the programs that this host runs for guests are kept apart from it and from each other: what of that can be
 * had here, and the command that starts a program so.
 */
import { statSync } from "node:fs";
import { which } from "../../platform/host.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { Cgroups, type VmLimits } from "./cgroups.ts";
import type { Confined } from "./enter.ts";
import { programEnvironment } from "./environment.ts";
import type { Plan, PlannedFile } from "./plan.ts";
import { leaseUser, type UserRange, usualRange, type VmUser } from "./vm-user.ts";

/** Descriptors that a program of a VM may have: disks, sockets and threads' events, and room to spare. */
const descriptors = 4096;
/** The group of this device may run VMs with KVM. */
const kvmDevice = "/dev/kvm";
/** How long a trial may take, in milliseconds. */
const trialMs = 20_000;

export interface ConfinementOptions {
  /** The command that starts this program. */
  self: readonly string[];
  /** Whom VMs run as: "off" for the user that runs this; absent for the usual range. */
  users?: UserRange | "off" | undefined;
}

/** What a program of a VM is given. */
export interface ProgramPlace {
  user: VmUser | null;
  files: readonly PlannedFile[];
  /** "none" if it needs no network of this host. */
  network: "host" | "none";
  cwd: string;
  /** Files of the VM's cgroups; see `limit`. */
  cgroups: readonly string[];
  /** Descriptors that it is handed, beside 0 to 2. */
  kept?: readonly number[];
  /** It ends with this process. */
  endsWithParent?: boolean;
}

export class Confinement {
  /** What this host, or this user, cannot have: a sentence each. */
  readonly lacks: readonly string[];
  /** The command that starts this program. */
  readonly self: readonly string[];
  readonly #range: UserRange | null;
  readonly #prefix: readonly string[];
  readonly #view: boolean;
  readonly #landlock: boolean;
  readonly #cgroups: Cgroups;

  private constructor(
    self: readonly string[],
    range: UserRange | null,
    prefix: readonly string[],
    view: boolean,
    confined: Confined,
    lacks: readonly string[],
  ) {
    this.self = self;
    this.#range = range;
    this.#prefix = prefix;
    this.#view = view;
    this.#landlock = confined.landlock > 0;
    this.#cgroups = Cgroups.find();
    const { unlimited } = this.#cgroups;
    this.lacks = [
      ...lacks,
      ...(unlimited.length === 0
        ? []
        : [`VMs have no limit of ${unlimited.join(", ")}: no cgroup can be made for them`]),
    ];
  }

  /**
   * Finds out, by a few trials of some ten milliseconds each, what can be had here. Throws MigrateError "policy" if
   * the users that were asked for cannot be had, and as `tried`.
   */
  static async find({ self, users }: ConfinementOptions): Promise<Confinement> {
    const isRoot = process.geteuid?.() === 0;
    const range = users === "off" || !isRoot ? null : (users ?? usualRange());
    const trial = (prefix: readonly string[], view: boolean, user: VmUser | null) =>
      tried([...prefix, ...self], { ...emptyPlan, view, user });
    const user = range === null ? null : { uid: range.first, gid: range.first };
    if (isRoot) {
      const whole = await trial([], true, user);
      if (whole !== null) {
        if (range !== null) requireRunByOthers(self);
        const why = users === "off" ? "--vm-users off" : "this user namespace has no range of users for them";
        return new Confinement(self, range, [], true, whole, range === null ? [ofNoUser(why)] : []);
      }
      if (users !== undefined && users !== "off") {
        throw new MigrateError("policy", "VMs cannot run as users of their own here", {
          hint: "Mounting and changing users must be allowed to migrate serve, and the range mapped in its user namespace.",
        });
      }
    }
    const unshare = which("unshare");
    const inNamespace = unshare === null ? [] : [unshare, "--user", "--map-root-user", "--"];
    const confined = unshare === null ? null : await trial(inNamespace, true, null);
    const own = ofNoUser(isRoot ? "this root may not mount or change users" : "only root can give them one");
    if (confined !== null) return new Confinement(self, null, inNamespace, true, confined, [own]);
    const least = (await trial([], false, null)) ?? { landlock: 0, bounded: false };
    const why =
      unshare === null ? "unshare(1) is not installed" : "user namespaces are not allowed to this user";
    return new Confinement(self, null, [], false, least, [own, ofNoView(least.landlock > 0, why)]);
  }

  /** A user for a VM whose files lie in these folders, beside others'; null if VMs have none. */
  lease(folders: readonly string[]): VmUser | null {
    return this.#range === null ? null : leaseUser(this.#range, folders);
  }

  /** Makes the group that limits a VM. Returns the files for `ProgramPlace.cgroups`. Throws as node:fs does. */
  limit(id: string, limits: VmLimits): string[] {
    return this.#cgroups.make(id, limits);
  }

  /** The command that becomes `argv`, whose program is a path or is looked for. */
  command(
    argv: readonly string[],
    { user, files, network, cwd, cgroups, kept = [], endsWithParent = false }: ProgramPlace,
  ): string[] {
    const [program = "", ...words] = argv;
    const plan: Plan = {
      user: user && { ...user, groups: this.#groups() },
      view: this.#view,
      network,
      landlock: this.#landlock,
      files: [...files],
      cgroups: [...cgroups],
      kept: [...kept],
      descriptors,
      cwd,
      ...(endsWithParent ? { endsWithParent } : {}),
    };
    const path = program.startsWith("/") ? program : (which(program) ?? program);
    return [...this.#prefix, ...this.self, "confined", JSON.stringify(plan), "--", path, ...words];
  }

  /**
   * The command that becomes a program of no VM, which is asked something and ends with this process: it has no file
   * and no network. Throws MigrateError "policy" if there is no user left for it.
   */
  trial(argv: readonly string[]): string[] {
    const user = this.lease([]);
    return this.command(argv, {
      user,
      files: [],
      network: "none",
      cwd: "/",
      cgroups: [],
      endsWithParent: true,
    });
  }

  /** KVM's device belongs to a group, unless everybody may use it. */
  #groups(): number[] {
    const stat = statSync(kvmDevice, { throwIfNoEntry: false });
    if (stat === undefined || (stat.mode & 0o006) === 0o006 || stat.gid === 0) return [];
    return [stat.gid];
  }
}

/** Throws MigrateError "policy" if the user of a VM could not run this program, which is what keeps the VM's serial lines. */
function requireRunByOthers([program = ""]: readonly string[]): void {
  const mode = statSync(program, { throwIfNoEntry: false })?.mode;
  if (mode === undefined || (mode & 0o001) !== 0) return;
  throw new MigrateError("policy", `${program} can be run by its owner alone, and not by the users of VMs`, {
    hint: `What keeps the serial lines of a VM is this program, as the VM's user: chmod a+x ${program}`,
  });
}

/** Whether a process with these arguments has yet to become the program that it was started for (`command`). */
export function isEntering(argv: readonly string[]): boolean {
  const role = argv.indexOf("confined");
  return role >= 0 && argv[role + 2] === "--";
}

const emptyPlan: Omit<Plan, "view" | "user"> = {
  network: "none",
  landlock: true,
  files: [],
  cgroups: [],
  kept: [],
  descriptors,
  cwd: "/",
};

function ofNoUser(why: string): string {
  return `VMs run as the user of migrate serve, and not each as a user of its own: ${why}`;
}

function ofNoView(hasLandlock: boolean, why: string): string {
  return hasLandlock
    ? `VMs have no network of their own: ${why}; Landlock keeps them from the files of others`
    : `VMs are not kept to files and a network of their own: ${why}, and the kernel has no Landlock`;
}

/**
 * Runs a trial and returns what it says; null if it cannot be had. Throws MigrateError "qemu-failed" if it did not
 * come to an answer: nobody is to run with more rights because the host was busy for a moment.
 */
async function tried(
  self: readonly string[],
  plan: Omit<Plan, "user"> & { user: VmUser | null },
): Promise<Confined | null> {
  const user = plan.user && { ...plan.user, groups: [] };
  const child = Bun.spawn([...self, "confined", JSON.stringify({ ...plan, user })], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    cwd: "/",
    env: programEnvironment,
    timeout: trialMs,
  });
  const text = await new Response(child.stdout).text();
  const code = await child.exited;
  if (child.signalCode !== null) {
    throw new MigrateError(
      "qemu-failed",
      `whether VMs can be confined here was not found out within ${trialMs / 1000} s`,
      {
        side: "destination",
        hint: "The host is very busy, or something ends processes on it: try again.",
      },
    );
  }
  if (code !== 0) return null;
  return JSON.parse(text) as Confined;
}
