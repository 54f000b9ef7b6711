/**
 * A libvirt host for live tests: libvirtd and virtlogd in mount and UTS namespaces of their own, so that several are
 * hosts of their own on one machine, each with its own /etc/libvirt, /run/libvirt and /var/lib/libvirt. Needs root.
 *
 * The network is the machine's unless `network` names another: TCP between hosts works as it is, and the names of
 * bridges and tap devices are everybody's. Processes are everybody's too; a host's are those that see its mounts.
 */
import {
  appendFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { guestImage } from "../guests/guest-image.ts";
import { findProgram } from "../runner/needs.ts";
import { type ChildOptions, runChild, startChild } from "../system/child.ts";
import { withDeadline } from "../system/deadline.ts";
import { mountsOf } from "../system/process-rights.ts";
import { until } from "../system/until.ts";
import { copyLibvirtCache, type EmulatorCache, emulatorCache, serialFolder } from "./emulator-cache.ts";
import { type HostConfiguration, makeHostFolders } from "./host-folders.ts";
import { hostMounts, hostScript, mountsReadyLine } from "./host-script.ts";
import { underReaper } from "./orphan-reaper.ts";
import { networkXml } from "./tick-xml.ts";

export interface LibvirtHostOptions extends HostConfiguration {
  /** A network namespace that is there (ip-netns(8)), as NetworkHosts makes them; absent for the machine's own. */
  network?: string;
  /** Libvirtd listens on TCP as well, as its configuration says. */
  listens?: boolean;
  /**
   * What ends on it is waited for at once, and not when the machine's first process comes to it (orphan-reaper.ts); as it
   * can be had if absent.
   */
  reaps?: boolean;
}

const canReap = () => process.arch === "x64" && findProgram("perl") !== null;

const startMs = 60_000;
const stopMs = 30_000;
const emulator = "qemu-system-x86_64";

/** Made by this process so far. */
let bridges = 0;

/** What a command of virsh came to. */
export interface VirshResult {
  /** The exit code; null where a signal ended it. */
  code: number | null;
  stdout: string;
  stderr: string;
}

export class LibvirtHost {
  /** Its mount namespace, by which its processes are known. */
  #mounts: string | undefined;

  private constructor(
    /** All that this host has lies below it. */
    readonly folder: string,
    readonly name: string,
    private readonly holder: Bun.Subprocess<"pipe", "pipe", "pipe">,
    private readonly hasOwnNetwork: boolean,
    private readonly options: LibvirtHostOptions,
  ) {}

  /**
   * Starts a host in `<folder>/<name>`, a folder that is made. It is ready once this settles. Its name is its hostname.
   * It ends with the test process, also if that is killed; `stop` it in afterEach. Throws what a program said that
   * did not start, with nothing left behind.
   */
  static async start(folder: string, name: string, options: LibvirtHostOptions = {}): Promise<LibvirtHost> {
    const path = realpathSync(program(emulator));
    const cache = await emulatorCache(emulator, [path, program("libvirtd")], async (empty) => {
      const first = await LibvirtHost.#start(dirname(empty.script), "first", {}, path, empty);
      await first.virsh("domcapabilities", "--virttype", "qemu");
      cpSync(first.outside("/var/cache/libvirt"), empty.libvirtCache, { recursive: true });
      await first.stop();
    });
    return await LibvirtHost.#start(folder, name, options, path, cache);
  }

  static async #start(
    folder: string,
    name: string,
    options: LibvirtHostOptions,
    emulatorPath: string,
    cache: EmulatorCache,
  ): Promise<LibvirtHost> {
    const base = join(folder, name);
    makeHostFolders(base, options, await guestImage());
    copyLibvirtCache(cache, join(base, "cache"));
    const enter =
      options.network === undefined ? [] : [program("nsenter"), `--net=/run/netns/${options.network}`];
    const outer = readlinkSync("/proc/self/ns/mnt");
    const net = options.network === undefined ? "" : "own-net";
    const words = [
      "unshare",
      "--mount",
      "--uts",
      "sh",
      "-c",
      hostScript,
      "host",
      base,
      name,
      outer,
      emulatorPath,
      cache.script,
      net,
      options.hugepages === true ? "hugepages" : "",
    ];
    // In a session of its own: what is sent to the test's process group must not end it before its work is done.
    const holder = Bun.spawn([...enter, ...words], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
    const host = new LibvirtHost(base, name, holder, net !== "", options);
    try {
      await host.#mounted();
      await host.#run("virtlogd", "--daemon", "--pid-file", "/run/libvirt/virtlogd.pid");
      await host.startLibvirtd();
      return host;
    } catch (error) {
      const words = host.libvirtdLog().slice(-2000);
      await host.stop();
      throw new Error(`${error instanceof Error ? error.message : error}\n${words}`);
    }
  }

  /** The process that holds the namespaces. */
  get pid(): number {
    return this.holder.pid;
  }

  /** Libvirt's socket as the machine sees it: what is /run/libvirt/libvirt-sock on the host itself. */
  get socket(): string {
    return join(this.folder, "run", "libvirt-sock");
  }

  /** Where the machine sees what is `path` on the host, one below the folders of hostMounts, or any that all share. */
  outside(path: string): string {
    for (const [folder, mount] of Object.entries(hostMounts)) {
      if (path === mount || path.startsWith(`${mount}/`))
        return join(this.folder, folder, path.slice(mount.length));
    }
    return path;
  }

  /** What runs this command on the host, in the folder `cwd`; the process is then the command's own. */
  command(argv: readonly string[], cwd = "/"): string[] {
    const net = this.hasOwnNetwork ? ["--net"] : [];
    return [
      program("nsenter"),
      "--target",
      String(this.pid),
      "--mount",
      "--root",
      "--uts",
      ...net,
      `--wd=${cwd}`,
      "--",
      ...argv,
    ];
  }

  /** What virsh prints on the host, connected to qemu:///system. Throws an Error with what it said where it failed. */
  async virsh(...args: string[]): Promise<string> {
    return await runChild(this.command(["virsh", "-q", "-c", "qemu:///system", ...args]), english);
  }

  /** The same, with its exit code; never throws. */
  async tryVirsh(...args: string[]): Promise<VirshResult> {
    const child = startChild(this.command(["virsh", "-q", "-c", "qemu:///system", ...args]), english);
    const { code } = await child.exit;
    return { code, stdout: child.stdout(), stderr: child.stderr() };
  }

  /** The process of libvirtd; undefined where there is none. */
  libvirtdPid(): number | undefined {
    return this.#pidIn("libvirtd.pid");
  }

  /** Kills libvirtd as a crash would, and waits for its end. Guests, swtpm and virtlogd stay. */
  async killLibvirtd(): Promise<void> {
    const pid = this.libvirtdPid();
    if (pid === undefined) return;
    process.kill(pid, "SIGKILL");
    await until(() => !this.processes().includes(pid), "the end of libvirtd", stopMs);
  }

  /** Starts libvirtd, and waits until it answers. */
  async startLibvirtd(): Promise<void> {
    const listen = this.options.listens === true ? ["--listen"] : [];
    const reaper = (this.options.reaps ?? canReap()) ? underReaper : [];
    const words = [program("libvirtd"), "--daemon", ...listen, "--pid-file", "/run/libvirt/libvirtd.pid"];
    await runChild(this.command([...reaper, ...words]), english);
    const answers = async () => (await this.tryVirsh("version")).code === 0;
    await until(answers, `an answer of libvirtd on ${this.name}`, startMs);
  }

  /** Kills libvirtd and starts it again, as after a crash; guests go on. */
  async restart(): Promise<void> {
    await this.killLibvirtd();
    await this.startLibvirtd();
  }

  /** The processes on this host, the one aside that holds it. */
  processes(): number[] {
    const own = this.#mounts;
    if (own === undefined) return [];
    const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    return pids.map(Number).filter((pid) => pid !== this.pid && mountsOf(pid) === own);
  }

  /** The QEMU of a domain; undefined where it has none. */
  qemuPid(domain: string): number | undefined {
    return this.#pidIn("qemu", `${domain}.pid`);
  }

  /** The files with what the guests of that name, or all, printed here, in the order in which their QEMUs began. */
  serialLogs(domain?: string): SerialLogFile[] {
    const folder = this.outside(serialFolder);
    return readdirSync(folder)
      .flatMap((file) => {
        const [, name, at, pid] = /^(.*)\.(\d+)\.(\d+)\.log$/.exec(file) ?? [];
        if (name === undefined || name !== (domain ?? name)) return [];
        return [{ path: join(folder, file), begunNs: BigInt(at!), pid: Number(pid) }];
      })
      .sort((a, b) => (a.begunNs < b.begunNs ? -1 : 1));
  }

  /**
   * Makes a bridge, on the machine or in the host's own network namespace, and a network of libvirt's on it, which is
   * started. Gives the bridge's name, which no other test has. It is removed with the host.
   */
  async addNetwork(name: string): Promise<string> {
    bridges += 1;
    const bridge = `lv${process.pid.toString(36)}n${bridges}`;
    appendFileSync(join(this.folder, "bridges"), `${bridge}\n`);
    await this.#run("ip", "link", "add", bridge, "type", "bridge");
    await this.#run("ip", "link", "set", bridge, "up");
    const path = join(this.folder, "network.xml");
    writeFileSync(path, networkXml(name, bridge));
    await this.virsh("net-define", path);
    await this.virsh("net-start", name);
    return bridge;
  }

  /** What libvirtd logged: warnings and errors. */
  libvirtdLog(): string {
    const path = join(this.folder, "log", "libvirtd.log");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** What QEMU of a domain wrote on its standard error, and its command line, as libvirt keeps it. */
  qemuLog(domain: string): string {
    const path = join(this.folder, "log", "qemu", `${domain}.log`);
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** Kills every process on the host, as a power cut would, and removes its folder. Harmless when that is done. */
  async stop(): Promise<void> {
    this.holder.stdin.end();
    const told = () => `the end of ${this.name}: ${this.processes()} are left`;
    await withDeadline(this.holder.exited, stopMs, told);
    // The holder has done this, unless it was killed itself.
    await until(() => killAll(this.processes()), `the end of all processes of ${this.name}`, stopMs);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #mounted(): Promise<void> {
    const said = this.holder.stderr.text();
    const up = async (): Promise<void> => {
      let text = "";
      for await (const bytes of this.holder.stdout) {
        text += new TextDecoder().decode(bytes);
        if (text.includes(mountsReadyLine)) {
          this.#mounts = mountsOf(this.pid);
          return;
        }
      }
      throw new Error(`no host ${this.name}: ${(await said).trim()}`);
    };
    await withDeadline(up(), startMs, `the mounts of ${this.name}`);
  }

  #run(name: string, ...args: string[]): Promise<string> {
    return runChild(this.command([program(name), ...args]), english);
  }

  /** Takes a path below /run/libvirt. A file that is left over from a process that has ended gives undefined. */
  #pidIn(...path: string[]): number | undefined {
    const file = join(this.folder, "run", ...path);
    const pid = existsSync(file) ? Number(readFileSync(file, "utf8").trim()) : Number.NaN;
    return this.processes().find((each) => each === pid);
  }
}

export interface SerialLogFile {
  path: string;
  /** When its QEMU began, in nanoseconds since 1970. */
  begunNs: bigint;
  /** Its QEMU. */
  pid: number;
}

/** What virsh says is read by tests, and nothing of who runs them is to change what libvirt does. */
const english: ChildOptions = {
  env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
};

/** Daemons lie in folders that are not in everybody's PATH. */
function program(name: string): string {
  return findProgram(name) ?? name;
}

/** Whether there was nobody to kill. */
function killAll(pids: readonly number[]): boolean {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
  return pids.length === 0;
}
