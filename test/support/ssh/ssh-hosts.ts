/**
 * Two hosts of which one reaches the other by ssh, on one machine: each a network namespace and a mount namespace of its
 * own, with accounts, an sshd, a sudo and a /var/lib of the test's own (mount_namespaces(7), sshd_config(5),
 * sudoers(5)). Needs root.
 */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NetworkHosts } from "../moves/links/network-hosts.ts";
import { processesBelow } from "../moves/running-hosts.ts";
import { type Child, type ChildOptions, runChild, startChild } from "../system/child.ts";
import { withDeadline } from "../system/deadline.ts";
import { builtBinary, type MigrateOptions, type MigrateProcess, runMigrate } from "../system/process.ts";
import { mountsOf } from "../system/process-rights.ts";
import { until } from "../system/until.ts";

/** The account without rights, on the host that ssh leads to. */
export const user = { name: "mover", uid: 47_110 };

export interface SshHostsOptions {
  /** Whether that account may become root: without a password, or not at all. */
  sudo?: boolean;
  /** Lines of sshd_config. */
  sshd?: string[];
  /** What a command that comes by ssh finds in its environment there, beside PATH (sshd_config(5), SetEnv). */
  environment?: Record<string, string>;
  /** This very program is in the PATH there, so that nothing has to be copied. */
  installed?: boolean;
  /** Programs found before all others by who comes by ssh: name and shell script. */
  programs?: Record<string, string>;
  /** No port there but ssh's is reached from the other host, and nobody is told so: as behind a firewall. */
  portsClosed?: boolean;
}

export class SshHosts {
  readonly folder: string;
  readonly network: NetworkHosts;
  readonly #options: SshHostsOptions;
  #source: Child | undefined;
  #destination: Child | undefined;
  /** The one that listens there. */
  sshd: Child | undefined;

  private constructor(folder: string, network: NetworkHosts, options: SshHostsOptions) {
    this.folder = folder;
    this.network = network;
    this.#options = options;
  }

  /** Makes them; the source knows the other host's key. Close them in afterEach. */
  static async make(options: SshHostsOptions = {}): Promise<SshHosts> {
    // Short: the paths of sockets have at most 107 bytes.
    const folder = mkdtempSync(join(tmpdir(), "ssh-"));
    const network = await NetworkHosts.make({ megabitsPerSec: "unlimited" });
    const hosts = new SshHosts(folder, network, options);
    try {
      await hosts.#prepare();
      await hosts.#start();
      return hosts;
    } catch (thrown) {
      await hosts.close();
      throw thrown;
    }
  }

  /** ssh://USER@HOST, with a store behind it if one is given. */
  address(account: string, store = ""): string {
    return `ssh://${account}@${this.network.address("destination")}${store}`;
  }

  /** What is `path` on either host. */
  at(path: string): string {
    return join(this.folder, path);
  }

  /** MIGRATE_HOME of the source. */
  get sourceHome(): string {
    return this.at("source-home");
  }

  /** That of root on the other host, by its path on this machine. */
  get rootHome(): string {
    return this.at("var-lib/migrate");
  }

  /** The folder of the copies of that account ("root" or "mover"), where none is named by the environment. */
  cache(account: string): string {
    return this.at(`home-${account}/.cache/migrate`);
  }

  /** Runs `migrate` on the source's host; add `--json` yourself. */
  migrate(words: string[], options: Partial<MigrateOptions> = {}): MigrateProcess {
    return runMigrate(words, {
      home: this.sourceHome,
      ...options,
      binary: [...this.enter("source"), builtBinary],
      env: { TMPDIR: this.at("tmp"), XDG_RUNTIME_DIR: undefined, SSH_AUTH_SOCK: undefined, ...options.env },
    });
  }

  /** The words before a command on that host. */
  enter(host: "source" | "destination"): string[] {
    const holder = host === "source" ? this.#source : this.#destination;
    return ["nsenter", "--target", String(holder?.pid), "--mount", "--net", "--"];
  }

  /** Runs a command on that host to its end. */
  async run(host: "source" | "destination", command: string[], options: ChildOptions = {}): Promise<string> {
    return await runChild([...this.enter(host), ...command], options);
  }

  /** The command lines of the processes on that host, but for its sshd and what holds it. */
  processes(host: "source" | "destination"): { pid: number; words: string }[] {
    const holder = host === "source" ? this.#source : this.#destination;
    const namespace = mountsOf(holder?.pid ?? 0);
    return readdirSync("/proc").flatMap((name) => {
      const pid = Number(name);
      if (!/^\d+$/.test(name) || pid === holder?.pid || pid === this.sshd?.pid || mountsOf(pid) !== namespace)
        return [];
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
        return words === "" ? [] : [{ pid, words }];
      } catch {
        return [];
      }
    });
  }

  /** Waits until neither host runs anything that a move has started; sessions of sshd end a moment later. */
  async waitUntilQuiet(): Promise<void> {
    await until(
      () => [...this.processes("source"), ...this.processes("destination")].length === 0,
      `an end of ${JSON.stringify([this.processes("source"), this.processes("destination")])}`,
    );
  }

  async close(): Promise<void> {
    const left = [
      ...(["source", "destination"] as const).flatMap((host) => this.processes(host).map(({ pid }) => pid)),
      ...processesBelow(this.folder),
    ];
    for (const pid of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended meanwhile.
      }
    }
    await this.#source?.kill();
    await this.#destination?.kill();
    await this.network.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #prepare(): Promise<void> {
    const { sudo = true, programs = {} } = this.#options;
    chmodSync(this.folder, 0o711);
    for (const path of [
      "keys",
      "etc",
      "bin",
      "var-lib",
      "home-root",
      "home-mover",
      "home-source/.ssh",
      "tmp",
    ])
      mkdirSync(this.at(path), { recursive: true });
    chownSync(this.at("home-mover"), user.uid, user.uid);
    chmodSync(this.at("home-source/.ssh"), 0o700);
    for (const [name, script] of Object.entries(programs)) {
      writeFileSync(join(this.at("bin"), name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
    if (this.#options.installed === true) symlinkSync(builtBinary, join(this.at("bin"), "migrate"));
    const accounts = (rootHome: string) =>
      [
        `root:x:0:0::${rootHome}:/bin/sh`,
        `sshd:x:47112:47112::/run/sshd:/usr/sbin/nologin`,
        `${user.name}:x:${user.uid}:${user.uid}::${this.at("home-mover")}:/bin/sh`,
      ].join("\n");
    writeFileSync(this.at("etc/passwd"), `${accounts(this.at("home-root"))}\n`);
    writeFileSync(this.at("etc/passwd-source"), `${accounts(this.at("home-source"))}\n`);
    writeFileSync(this.at("etc/group"), `root:x:0:\ntty:x:5:\nkvm:x:47113:\n${user.name}:x:${user.uid}:\n`);
    writeFileSync(
      this.at("etc/shadow"),
      ["root", "sshd", user.name].map((one) => `${one}:*:19000::::::\n`).join(""),
      {
        mode: 0o600,
      },
    );
    const rule = sudo ? `${user.name} ALL=(ALL) NOPASSWD: ALL\n` : "";
    writeFileSync(this.at("etc/sudoers"), `root ALL=(ALL) ALL\n${rule}`, { mode: 0o440 });
    for (const key of ["host-key", "home-source/.ssh/id_ed25519"]) {
      await runChild(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", this.at(key)]);
    }
    const key = readFileSync(this.at("home-source/.ssh/id_ed25519.pub"));
    for (const account of ["root", user.name]) writeFileSync(this.at(`keys/${account}`), key);
    const [kind, hostKey] = readFileSync(this.at("host-key.pub"), "utf8").split(" ");
    this.know(`${this.network.address("destination")} ${kind} ${hostKey}\n`);
    writeFileSync(this.at("sshd_config"), `${this.#sshdLines().join("\n")}\n`);
  }

  /** Has the source's ssh know hosts by these lines (known_hosts of sshd(8)) and no others. */
  know(lines: string): void {
    writeFileSync(this.at("home-source/.ssh/known_hosts"), lines, { mode: 0o600 });
  }

  #sshdLines(): string[] {
    return [
      `HostKey ${this.at("host-key")}`,
      `AuthorizedKeysFile ${this.at("keys")}/%u`,
      // The first SetEnv is the only one that counts.
      `SetEnv PATH=${this.at("bin")}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin${Object.entries(
        this.#options.environment ?? {},
      )
        .map(([name, value]) => ` ${name}=${value}`)
        .join("")}`,
      ...["PidFile none", "StrictModes no", "UsePAM no", "PermitRootLogin yes", "PasswordAuthentication no"],
      ...["KbdInteractiveAuthentication no", "LogLevel VERBOSE", "MaxStartups 100"],
      ...(this.#options.sshd ?? []),
    ];
  }

  async #start(): Promise<void> {
    const bind = (from: string, to: string) => `mount --bind ${this.at(from)} ${to}`;
    const sleep = "exec sleep 1000000";
    this.#source = await this.#holder("source", [bind("etc/passwd-source", "/etc/passwd"), "echo up", sleep]);
    const files = ["passwd", "shadow", "group", "sudoers"].map((name) => bind(`etc/${name}`, `/etc/${name}`));
    this.#destination = await this.#holder("destination", [
      ...files,
      bind("var-lib", "/var/lib"),
      "mount -t tmpfs -o mode=755 tmpfs /run",
      "mkdir -p /run/sshd",
      "echo up",
      sleep,
    ]);
    if (this.#options.portsClosed === true) await this.#closePorts();
    await this.startSshd();
  }

  /** Starts the other host's sshd, which was not running. */
  async startSshd(): Promise<void> {
    const up = Promise.withResolvers<void>();
    let text = "";
    const sshd = startChild(
      [...this.enter("destination"), "/usr/sbin/sshd", "-D", "-e", "-f", this.at("sshd_config")],
      {
        onStderr: (piece) => {
          text += piece;
          if (text.includes("Server listening")) up.resolve();
        },
      },
    );
    this.sshd = sshd;
    void sshd.exit.then(() => up.reject(new Error(`sshd ended: ${text}`)));
    await withDeadline(up.promise, 10_000, "sshd");
  }

  async #holder(host: "source" | "destination", commands: string[]): Promise<Child> {
    const up = Promise.withResolvers<void>();
    const script = ["set -e", "mount --make-rprivate /", ...commands].join("\n");
    const words = [...this.network.enter(host), "unshare", "--mount", "sh", "-c", script];
    const holder = startChild(words, {
      onStdout: (text) => {
        if (text.includes("up\n")) up.resolve();
      },
    });
    void holder.exit.then(() => up.reject(new Error(`no ${host}: ${holder.stderr()}`)));
    await withDeadline(up.promise, 10_000, `the ${host}`);
    return holder;
  }

  /** What ports above those of the system answer does not leave that host (ip-rule(8)). */
  async #closePorts(): Promise<void> {
    const rule = ["rule", "add", "pref", "10", "ipproto", "tcp", "sport", "1024-65534", "blackhole"];
    await runChild(["ip", "-n", this.network.namespace("destination"), ...rule]);
  }
}
