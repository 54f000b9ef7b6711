/** What `migrate doctor` looks at: one check each, with the sentence that helps if it is not well. */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { keyKeeper, loadFingerprint } from "../../channel/identity.ts";
import { TrustFile } from "../../channel/trust.ts";
import { isExpired } from "../../channel/trusted/trust-terms.ts";
import { openHome } from "../../home/home.ts";
import { keptCopies } from "../../migration/operator/prune/kept-copies.ts";
import { whatIfRestored } from "../../migration/operator/receipts.ts";
import { localStatus } from "../../migration/operator/status.ts";
import type { Owner } from "../../migration/ownership/owner.ts";
import { LandingHost } from "../../migration/providers/libvirt/landing-host.ts";
import { freeBytes, supportsHoles } from "../../platform/files/filesystem.ts";
import { supportsLocks } from "../../platform/files/locks.ts";
import { clockOk, cpuHasAes, kernelVersion, kvmUsable, which } from "../../platform/host.ts";
import { asMigrateError } from "../../protocol/errors.ts";
import { formatBytes } from "../../terminal/format.ts";
import { Confinement } from "../../vm/confinement/confinement.ts";
import { systemUri } from "../../vm/libvirt/virsh.ts";

/** `problem`: migrations fail. `warning`: they work, with less. */
export type CheckState = "ok" | "warning" | "problem";

export interface Check {
  check: string;
  state: CheckState;
  message: string;
  /** What to do. */
  help?: string;
}

/** Less room than this holds no VM that is worth moving. */
const littleRoomBytes = 1024 ** 3;

/**
 * The home's and this host's own checks, in the order in which they are shown; `self` is the command that starts
 * this program. Never throws.
 */
export async function hostChecks(home: string, self: readonly string[]): Promise<Check[]> {
  return [
    await homeCheck(home),
    await identityCheck(home),
    trustCheck(home),
    await sessionsCheck(home),
    ...systemChecks(),
    ...(await guestChecks(self)),
    await libvirtCheck(),
  ];
}

/** Whether domains of libvirt can be moved, from here and to here. */
async function libvirtCheck(): Promise<Check> {
  const check = "libvirt";
  if (which("virsh") === null) return ok(check, "virsh is not here: this host has no VMs of libvirt");
  try {
    const version = await new LandingHost(systemUri).requireReachable();
    return ok(check, `libvirt ${version} answers: its VMs can be moved, and taken in (serve --libvirt)`);
  } catch (thrown) {
    const { message, hint } = asMigrateError(thrown);
    return warning(check, message, hint ?? "Start libvirtd.");
  }
}

/** How the programs of VMs are kept apart from this host: what of that can be had. */
async function guestChecks(self: readonly string[]): Promise<Check[]> {
  const check = "guests";
  try {
    const { lacks } = await Confinement.find({ self });
    if (lacks.length === 0)
      return [ok(check, "VMs run as users of their own, without rights, and see their own files alone")];
    return lacks.map((lack) =>
      warning(check, lack, "Run migrate serve as root, where it may mount, change users and make cgroups."),
    );
  } catch (thrown) {
    return [problem(check, asMigrateError(thrown).message)];
  }
}

/** Sessions whose journal, files and programs disagree, and such as wait for the other host. */
async function sessionsCheck(home: string): Promise<Check> {
  const check = "sessions";
  return tried(check, () => {
    const rows = localStatus(home);
    const named = (owner: Owner) =>
      rows
        .filter((row) => row.owner === owner)
        .map(({ name, session }) => `${name} (${session.slice(0, 12)})`)
        .join(", ");
    const [doubts, waiting] = [named("in doubt"), named("nobody yet")];
    if (doubts !== "") {
      return problem(
        check,
        `The journal is older than what lies and runs here: ${doubts} in doubt`,
        "Look at migrate status and at what runs, then say who owns it: migrate resolve SESSION --owner SIDE.",
      );
    }
    if (waiting !== "") {
      return warning(
        check,
        `Released, and not yet owned by their destination: ${waiting}`,
        "Run the same migrate send again, or migrate resolve SESSION.",
      );
    }
    return ok(check, rows.length === 1 ? "1 is under way" : `${rows.length} are under way`);
  });
}

/** A journal that was restored from a backup; no check if nothing shows that. Never throws. */
export async function restoredCheck(home: string): Promise<Check[]> {
  try {
    const hint = await whatIfRestored(home);
    if (hint === null) return [];
    return [problem("journal", "It is older than what was seen of this host: it was restored", hint)];
  } catch {
    // The check of the sessions says what is wrong with it.
    return [];
  }
}

/** What VMs that were moved away left here; no check if there is nothing. */
export function keptCheck(home: string, store: string | undefined): Check[] {
  const { paths, bytes } = keptCopies(home, store);
  if (paths.length === 0) return [];
  const shown = paths.slice(0, 3).join(", ");
  const others = paths.length > 3 ? ` and ${paths.length - 3} more` : "";
  const what = paths.length === 1 ? "1 copy of a VM that was" : `${paths.length} files of VMs that were`;
  return [
    warning(
      "migrated",
      `${what} moved away take ${formatBytes(bytes)}: ${shown}${others}`,
      "Nothing removes them but you: once the VM runs well where it is, migrate prune does.",
    ),
  ];
}

/** Checks of a folder that VMs are to arrive in. */
export function storeChecks(store: string): Check[] {
  const check = "store";
  if (!existsSync(store)) {
    const parent = nearestFolder(store);
    return [
      isWritable(parent)
        ? ok(check, `There is no ${store} yet: migrate serve makes it`)
        : problem(
            check,
            `There is no ${store}, and ${parent} cannot be written`,
            "Make it, or change the owner or mode of that folder.",
          ),
    ];
  }
  if (!statSync(store).isDirectory())
    return [problem(check, `${store} is not a folder`, "Name another one.")];
  let holes: boolean;
  try {
    holes = supportsHoles(store);
  } catch (thrown) {
    const code = String((thrown as { code?: unknown }).code ?? thrown);
    return [
      problem(
        check,
        `${store} cannot be written (${code})`,
        "Change its owner or mode, or name another folder.",
      ),
    ];
  }
  const free = freeBytes(store);
  return [
    ok(check, `${store} can be written`),
    supportsLocks(store)
      ? ok("locks", "Its file system has the locks with which QEMU guards its images")
      : warning(
          "locks",
          "Its file system has no locks: nothing keeps two programs from writing to one disk",
          "Use a file system of this host for the store.",
        ),
    holes
      ? ok("holes", "Its file system keeps sparse files sparse")
      : warning(
          "holes",
          "Its file system has no holes: a sparse disk takes its whole size there",
          "Use ext4, XFS or Btrfs for the store.",
        ),
    free < littleRoomBytes
      ? warning("room", `${formatBytes(free)} are free there`, "Free some, or name a store with more room.")
      : ok("room", `${formatBytes(free)} are free there`),
  ];
}

/** The folder on the way to `path` that is there. */
function nearestFolder(path: string): string {
  const parent = dirname(path);
  return existsSync(parent) || parent === path ? parent : nearestFolder(parent);
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

async function homeCheck(home: string): Promise<Check> {
  return tried("home", () => ok("home", `${openHome(home)} is this user's alone and can be written`));
}

async function identityCheck(home: string): Promise<Check> {
  return tried("identity", async () => {
    const fingerprint = await loadFingerprint(home);
    const keeper = keyKeeper(home);
    const kept = {
      file: "",
      passphrase: ", sealed with a passphrase",
      tpm: ", its key kept by this host's TPM",
    };
    return ok("identity", `${fingerprint}${keeper === null ? "" : kept[keeper]}`);
  });
}

export function trustCheck(home: string): Check {
  try {
    const peers = TrustFile.load(home).peers();
    const over = peers.filter((peer) => isExpired(peer, Date.now()));
    const count = peers.length;
    if (over.length > 0)
      return warning(
        "trust",
        `${count} in the trust file, of which ${over.length} expired: ${over.map(({ name }) => name).join(", ")}`,
        "Those are not trusted any more: migrate trust add them again, or migrate trust remove them.",
      );
    return ok("trust", count === 0 ? "No host is trusted yet; a ticket pairs two hosts" : `${count} trusted`);
  } catch (thrown) {
    const error = asMigrateError(thrown);
    return problem("trust", error.message, error.hint);
  }
}

function systemChecks(): Check[] {
  const clock = clockOk();
  const kvm = kvmUsable();
  return [
    ok("kernel", `Linux ${kernelVersion()}`),
    cpuHasAes()
      ? ok("aes", "The processor has AES instructions")
      : warning(
          "aes",
          "The processor has no AES instructions: TLS will be slow",
          "Nothing can be done but another host.",
        ),
    clock.ok
      ? clockCheck(clock.synchronised)
      : problem("clock", `The clock shows the year ${clock.year}`, "Set it: timedatectl set-ntp true."),
    programCheck(
      "qemu",
      ["qemu-system-x86_64", "qemu-system-aarch64", "kvm"],
      "VMs cannot run here, only be kept",
      "apt install qemu-system-x86",
    ),
    kvm.usable
      ? ok("kvm", "VMs run with KVM")
      : warning("kvm", "VMs run here without KVM, which is slow", kvm.reason),
    programCheck(
      "qemu-img",
      ["qemu-img"],
      "running VMs with qcow2 disks cannot come here",
      "apt install qemu-utils",
    ),
    programCheck("swtpm", ["swtpm"], "VMs with a virtual TPM cannot run here", "apt install swtpm"),
  ];
}

function clockCheck(synchronised: boolean | null): Check {
  return synchronised === false
    ? warning(
        "clock",
        "The clock is set, but nothing keeps it right",
        "timedatectl set-ntp true; only ages and dates suffer.",
      )
    : ok("clock", synchronised ? "The clock is synchronised" : "The clock is set");
}

function programCheck(check: string, programs: readonly string[], lack: string, help: string): Check {
  const found = programs.map(which).find((path) => path !== null);
  return found ? ok(check, found) : warning(check, `${programs[0]} is not installed: ${lack}`, `${help}.`);
}

async function tried(check: string, look: () => Check | Promise<Check>): Promise<Check> {
  try {
    return await look();
  } catch (thrown) {
    const error = asMigrateError(thrown);
    return problem(check, error.message, error.hint);
  }
}

function ok(check: string, message: string): Check {
  return { check, state: "ok", message };
}

function warning(check: string, message: string, help?: string): Check {
  return { check, state: "warning", message, ...(help === undefined ? {} : { help }) };
}

function problem(check: string, message: string, help?: string): Check {
  return { check, state: "problem", message, ...(help === undefined ? {} : { help }) };
}
