/**
 * A real Linux to boot, without a disk image: the kernel of the distribution's package, and busybox
 * with the init of guest-init.ts in an initramfs. Built once and kept in a cache.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { buildingPrefix, builtOnce } from "../files/built-once.ts";
import { runChild } from "../system/child.ts";
import { guestInit, guestModules, laterModules } from "./guest-init.ts";
import { tpmCommands } from "./tpm-guest.ts";

export interface GuestImage {
  /** The kernel, as QEMU's -kernel takes it. */
  kernel: string;
  /** The initramfs, as QEMU's -initrd takes it. */
  initrd: string;
  /** About 100 MiB of real files (kernel modules) as a tar: a read-only disk for the guest's work. */
  corpus: string;
}

/** Debian's and Ubuntu's name of the package that depends on the kernel of today. */
const kernelPackages = ["linux-image-cloud-amd64", "linux-image-virtual"];

/**
 * What every guest's kernel is told: to use the serial line, and to spare what only costs time under TCG
 * (Linux, Documentation/admin-guide/kernel-parameters.txt).
 */
export const guestKernelWords = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check";

interface Package {
  name: string;
  version: string;
  depends: string[];
}

/** Names the folder of a finished guest, for test processes that are started by one that knows it. */
export const guestFolderVariable = "MIGRATE_TEST_GUEST";

/**
 * The guest, from the cache where it is there for the packages' current versions. Two processes may
 * build it at once: each builds in a folder of its own, the first to rename it wins.
 * Needs apt-get, dpkg, cpio, and root where the package lists are missing or out of date.
 * Throws an Error that names the command that failed.
 */
export function guestImage(): Promise<GuestImage> {
  found ??= findOrBuild();
  return found;
}

/** Asking apt takes seconds, and its answer is good for a test run. */
let found: Promise<GuestImage> | undefined;

/** The folder in which a guest lies. */
export function guestFolder({ kernel }: GuestImage): string {
  return dirname(kernel);
}

function imageIn(folder: string): GuestImage {
  return {
    kernel: join(folder, "vmlinuz"),
    initrd: join(folder, "initrd.gz"),
    corpus: join(folder, "corpus.tar"),
  };
}

async function findOrBuild(): Promise<GuestImage> {
  const given = process.env[guestFolderVariable];
  if (given !== undefined && given !== "") return imageIn(given);
  let packages = await findPackages();
  if (packages === undefined) {
    await updatePackageLists();
    packages = await findPackages();
  }
  if (packages === undefined)
    throw new Error(`apt knows none of ${kernelPackages.join(", ")} and busybox-static`);
  const versions = packages.map(({ name, version }) => `${name}_${version}`).join("+");
  const made = Bun.hash(JSON.stringify([guestInit, tpmCommands]));
  const key = `${versions}-${made.toString(16)}`.replace(/[^A-Za-z0-9._+-]/g, "_");
  const folder = join(cacheFolder(), key);
  const image = imageIn(folder);
  if (!existsSync(folder)) removeAbandonedBuilds();
  await builtOnce(folder, (building, finished) => build(packages, building, finished));
  return image;
}

/** A folder of this user alone: what lies in it is booted. */
function cacheFolder(): string {
  const xdg = process.env.XDG_CACHE_HOME;
  const uid = process.getuid?.() ?? 0;
  const folder = xdg ? join(xdg, "migrate-test") : join(tmpdir(), `migrate-test-${uid}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (statSync(folder).uid !== uid) throw new Error(`${folder} belongs to another user`);
  chmodSync(folder, 0o700);
  return folder;
}

/** A process that was killed while it built has left its folder. */
function removeAbandonedBuilds(): void {
  const hourAgoMs = Date.now() - 3_600_000;
  for (const name of readdirSync(cacheFolder())) {
    const path = join(cacheFolder(), name);
    const begun = name.startsWith(buildingPrefix) ? statSync(path, { throwIfNoEntry: false }) : undefined;
    if (begun !== undefined && begun.ctimeMs < hourAgoMs) rmSync(path, { recursive: true, force: true });
  }
}

/** The kernel's package, its modules' package where that is another, and busybox; undefined where apt has no lists. */
async function findPackages(): Promise<Package[] | undefined> {
  for (const name of kernelPackages) {
    const meta = await showPackage(name);
    const kernel = await showPackage(meta?.depends.find((depend) => /^linux-image-\d/.test(depend)));
    const busybox = await showPackage("busybox-static");
    if (kernel === undefined || busybox === undefined) continue;
    const modules = await showPackage(kernel.depends.find((depend) => /^linux-modules-\d/.test(depend)));
    return modules === undefined ? [kernel, busybox] : [kernel, busybox, modules];
  }
  return undefined;
}

async function showPackage(name: string | undefined): Promise<Package | undefined> {
  if (name === undefined) return undefined;
  const text = await runChild(["apt-cache", "show", "--no-all-versions", name]).catch(() => "");
  const field = (key: string): string | undefined => new RegExp(`^${key}: (.*)$`, "m").exec(text)?.[1];
  const version = field("Version");
  if (version === undefined) return undefined;
  const depends = (field("Depends") ?? "").split(/[,|]/).map((depend) => depend.trim().split(" ")[0] ?? "");
  return { name, version, depends };
}

/** One process at a time: apt-get update does not wait for another's lock. */
async function updatePackageLists(): Promise<void> {
  await runChild(["flock", join(cacheFolder(), "apt.lock"), "apt-get", "update"]);
}

async function build(packages: Package[], building: string, finished: string): Promise<void> {
  const downloads = join(building, "downloads");
  const root = join(building, "root");
  mkdirSync(downloads);
  mkdirSync(root);
  // apt's own unprivileged user cannot write into our folder; the files' hashes are checked either way.
  const sandbox = process.getuid?.() === 0 ? ["-o", "APT::Sandbox::User=root"] : [];
  const download = [
    "apt-get",
    ...sandbox,
    "download",
    ...packages.map(({ name, version }) => `${name}=${version}`),
  ];
  try {
    await runChild(download, { cwd: downloads });
  } catch {
    // The lists may name versions that the archive has dropped since; the ones it has now take their place.
    await updatePackageLists();
    await runChild(["apt-get", ...sandbox, "download", ...packages.map(({ name }) => name)], {
      cwd: downloads,
    });
  }
  for (const file of readdirSync(downloads)) await runChild(["dpkg", "-x", join(downloads, file), root]);

  const kernel = [...new Bun.Glob("boot/vmlinuz-*").scanSync(root)][0];
  const busybox = ["bin/busybox", "usr/bin/busybox"].find((path) => existsSync(join(root, path)));
  if (kernel === undefined || busybox === undefined)
    throw new Error("no kernel or no busybox in the packages");
  renameSync(join(root, kernel), join(finished, "vmlinuz"));

  const tree = join(building, "tree");
  mkdirSync(join(tree, "bin"), { recursive: true });
  mkdirSync(join(tree, "modules"));
  mkdirSync(join(tree, "tpm"));
  writeFileSync(join(tree, "init"), guestInit, { mode: 0o755 });
  renameSync(join(root, busybox), join(tree, "bin/busybox"));
  for (const [name, bytes] of Object.entries(tpmCommands)) writeFileSync(join(tree, "tpm", name), bytes);
  for (const path of new Bun.Glob("**/kernel/{drivers,net}/**/{virtio*,*failover}.ko{,.xz,.zst}").scanSync(
    root,
  )) {
    const [name = "", , packing] = basename(path).split(".");
    if (!([...guestModules, ...laterModules] as readonly string[]).includes(name)) continue;
    writeFileSync(join(tree, "modules", `${name}.ko`), await unpacked(join(root, path), packing));
  }
  await runChild(
    ["sh", "-c", `find . | cpio -o -H newc --quiet | gzip -1 > "$0"`, join(finished, "initrd.gz")],
    { cwd: tree },
  );
  await runChild(["tar", "-c", "-f", join(finished, "corpus.tar"), "-C", root, "."]);
}

/** A kernel module's bytes: Debian 12 has them plain, later ones packed with xz or zstd. */
async function unpacked(path: string, packing: string | undefined): Promise<Uint8Array> {
  if (packing === "zst") return Bun.zstdDecompressSync(readFileSync(path));
  if (packing === "xz") {
    const plain = path.slice(0, -".xz".length);
    await runChild(["xz", "--decompress", path]);
    return readFileSync(plain);
  }
  return readFileSync(path);
}
