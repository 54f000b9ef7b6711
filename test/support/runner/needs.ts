/** The programs that the live tests and the benchmark need, and how to get them. */
import { existsSync } from "node:fs";
import { guestImage } from "../guests/guest-image.ts";
import { runChild } from "../system/child.ts";

export interface Tool {
  /** Its name, or the absolute path of a file that is no program. */
  program: string;
  /** The Debian and Ubuntu package that brings it; absent where it cannot be added to a machine. */
  package?: string;
}

/** Programs with a blank between them, each as PROGRAM=PACKAGE, or PROGRAM where no package brings it. */
function tools(text: string): Tool[] {
  return text.split(" ").map((one) => {
    const [program = "", name] = one.split("=");
    return name === undefined ? { program } : { program, package: name };
  });
}

/**
 * For the guests under test/live, and the hosts under test/live/ssh. Where no init runs, as in a container, no sshd is
 * started by its package; the tests' own listen in namespaces of theirs.
 */
export const liveTools: readonly Tool[] = tools(
  "apt-get dpkg qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils swtpm=swtpm swtpm_setup=swtpm-tools cpio=cpio mkfs.xfs=xfsprogs mke2fs=e2fsprogs debugfs=e2fsprogs ip=iproute2 tc=iproute2 chromium=chromium ssh=openssh-client ssh-keygen=openssh-client sshd=openssh-server sudo=sudo unshare=util-linux nsenter=util-linux systemd-analyze=systemd script=bsdutils",
);

/**
 * For the libvirt hosts under test/live/libvirt, beside `liveTools`. Installing them starts no daemon where no systemd
 * runs, and libvirt's default network is not used.
 */
export const libvirtTools: readonly Tool[] = tools(
  "libvirtd=libvirt-daemon-system virtlogd=libvirt-daemon-system virsh=libvirt-clients unshare=util-linux nsenter=util-linux /usr/share/OVMF/OVMF_CODE_4M.fd=ovmf",
);

/** For the peers in test/bench. */
export const peerTools: readonly Tool[] = tools(
  "ssh=openssh-client sshd=openssh-server rsync=rsync socat=socat openssl=openssl",
);

/** For the disk images in test/bench that hold a whole Debian. */
export const imageTools: readonly Tool[] = tools(
  "apt-get apt-cache mmdebstrap=mmdebstrap unshare=util-linux mke2fs=e2fsprogs qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils cpio=cpio",
);

export interface Availability {
  available: boolean;
  /** Why not, and what to do; empty where all is there. */
  reason: string;
}

/** Where a program is, also in the folders for administrators; null where it is not. A path is what it is. */
export function findProgram(program: string): string | null {
  if (program.startsWith("/")) return existsSync(program) ? program : null;
  return Bun.which(program, { PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` });
}

/** The tools of the list that this machine lacks. */
export function missingTools(tools: readonly Tool[]): Tool[] {
  return tools.filter((tool) => findProgram(tool.program) === null);
}

/**
 * Makes the live tests possible: installs what is missing (as root, where there is apt) and builds
 * the guest that they boot. Does nothing that is already done. Never throws: it says why instead.
 */
export async function ensureLiveTools(): Promise<Availability> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return {
      available: false,
      reason: `they boot an x86-64 Linux guest; this is ${process.platform} ${process.arch}`,
    };
  }
  const tools = await installTools(liveTools);
  if (!tools.available) return tools;
  try {
    await guestImage();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { available: false, reason: `the guest to boot cannot be built: ${message}` };
  }
  return { available: true, reason: "" };
}

/** The same for the libvirt hosts under test/live/libvirt, once `ensureLiveTools` has done its part. Never throws. */
export async function ensureLibvirtTools(): Promise<Availability> {
  if (process.getuid?.() !== 0)
    return { available: false, reason: "they make libvirt hosts in namespaces, which takes root" };
  return await installTools(libvirtTools);
}

/** Installs those of the tools that are missing, as root with apt. Never throws: it says why instead. */
export async function installTools(tools: readonly Tool[]): Promise<Availability> {
  const missing = missingTools(tools);
  if (missing.length === 0) return { available: true, reason: "" };
  const programs = missing.map((tool) => tool.program).join(", ");
  const packages = [...new Set(missing.flatMap((tool) => tool.package ?? []))];
  if (missing.some((tool) => tool.package === undefined)) {
    return { available: false, reason: `${programs} is not here, and this machine has no apt to install it` };
  }
  const command = ["apt-get", "install", "-y", "--no-install-recommends", ...packages];
  if (process.getuid?.() !== 0 || !existsSync("/var/lib/dpkg")) {
    return { available: false, reason: `missing: ${programs}; as root: ${command.join(" ")}` };
  }
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // Another test process may hold the lock of dpkg for a while.
  const waiting = ["-o", "DPkg::Lock::Timeout=300"];
  try {
    await runChild(["apt-get", ...waiting, "update"], { env });
    await runChild([...command, ...waiting], { env });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { available: false, reason: `missing: ${programs}; installing failed: ${message}` };
  }
  const still = missingTools(tools).map((tool) => tool.program);
  if (still.length === 0) return { available: true, reason: "" };
  return { available: false, reason: `still missing after ${command.join(" ")}: ${still.join(", ")}` };
}
