/**
 * One connection of ssh to another host, that everything of a command goes through (ssh(1), -M and -S; ssh_config(5),
 * ControlMaster). It is made once: so a person is asked once, and commands and forwardings that follow ask nobody. What
 * decides how that host is reached and known is the user's own configuration alone; what is set here is about the
 * connection's shape.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { MigrateError } from "../protocol/errors.ts";
import type { SshAddress } from "./ssh-address.ts";
import { sshFailure } from "./ssh-failure.ts";
import { runSsh, type SshRun, type SshRunOptions, sshProgram } from "./ssh-process.ts";

export interface MasterOptions {
  address: SshAddress;
  /** A folder of our own, 0700, with a short path: the control socket lies in it (unix(7), 107 bytes). */
  folder: string;
  /** The command that starts this program. */
  self: readonly string[];
  /** Nobody is asked for anything (ssh_config(5), BatchMode). */
  batch: boolean;
  /** How long it may take to be let in, in milliseconds; without one a person may take all the time there is. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
  /** A line that ssh writes to its standard error meanwhile. */
  said?: ((line: string) => void) | undefined;
}

/** How often it is looked whether ssh has been let in, in milliseconds: it says so by the control socket alone. */
const lookMs = 25;
const mostSaidCharacters = 16 * 1024;
const mostSaidLines = 50;

/** In the order of ssh's own configuration nothing is changed but these. */
const shape = [
  // As one of many commands that share it; the user's own master is left alone.
  ...["-M", "-N", "-T", "-o", "ControlPersist=no"],
  // A command, or forwardings, of the user's configuration would be run as well.
  ...["-o", "RemoteCommand=none", "-o", "ClearAllForwardings=yes"],
  // The socket of an earlier connection lies where the next one is made.
  ...["-o", "StreamLocalBindUnlink=yes"],
];

export class SshMaster {
  readonly #address: SshAddress;
  readonly #control: string;
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #said: () => string;

  private constructor(
    address: SshAddress,
    control: string,
    child: Bun.Subprocess<"ignore", "ignore", "pipe">,
    said: () => string,
  ) {
    this.#address = address;
    this.#control = control;
    this.#child = child;
    this.#said = said;
  }

  /**
   * Connects. Throws MigrateError: "network" if the host is not reached, or not in time; "not-trusted" if its key is not
   * known or it lets nobody in; "policy" if ssh is not there or not usable; the signal's reason.
   */
  static async open(options: MasterOptions): Promise<SshMaster> {
    const { address, folder, self, signal } = options;
    signal?.throwIfAborted();
    const control = join(folder, "ctl");
    const words = [...shape, ...(options.batch ? ["-o", "BatchMode=yes"] : []), "-S", control];
    // That of an ssh that was killed is still there, and would be taken for this one's.
    rmSync(control, { force: true });
    // It is the user's own ssh, with the user's environment: agent, askpass, tickets of Kerberos.
    // `ssh-child` ends it with this process, and keeps a Ctrl-C that is meant for this process from it.
    const argv = [
      ...self,
      "ssh-child",
      String(process.pid),
      "--",
      sshProgram(),
      ...words,
      ...destination(address),
    ];
    const child = Bun.spawn(argv, {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    let text = "";
    let lines = 0;
    const reading = readLines(child.stderr, (line) => {
      text = `${text}${line}\n`.slice(-mostSaidCharacters);
      // A banner may be of any length.
      if (++lines <= mostSaidLines) options.said?.(line);
    });
    const master = new SshMaster(address, control, child, () => text);
    try {
      const lateAtMs = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
      while (!existsSync(control)) {
        signal?.throwIfAborted();
        if (!master.stands) {
          await reading;
          throw sshFailure(address, text);
        }
        if (performance.now() > lateAtMs) throw sshFailure(address, `${text}\nit does not answer`);
        await Promise.race([Bun.sleep(lookMs), child.exited]);
      }
      return master;
    } catch (thrown) {
      await master.close();
      throw thrown;
    }
  }

  /** Whether ssh still runs; the network may have lost the other host all the same. */
  get stands(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Runs a command there. Never rejects but with the signal's reason. */
  async run(command: string, options: SshRunOptions): Promise<SshRun> {
    return await runSsh(this.#client("-T", this.#address.host, command), options);
  }

  /** What a connection that ended in a command's way has said, as an error. */
  lost({ stderr }: SshRun): MigrateError {
    return sshFailure(this.#address, this.stands ? stderr : `${stderr}\n${this.#said()}`);
  }

  /**
   * Lets `local`, the path of a unix socket here, lead to `remote` there: a unix socket's path, or HOST:PORT. True if
   * ssh listens; whether the other side lets anything through shows with the first connection.
   */
  async forward(local: string, remote: string, timeoutMs: number): Promise<boolean> {
    const words = ["-O", "forward", "-L", `${local}:${remote}`, this.#address.host];
    return (await runSsh(this.#client(...words), { timeoutMs })).code === 0;
  }

  /** Takes a forwarding back. */
  async unforward(local: string, remote: string, timeoutMs: number): Promise<void> {
    const words = ["-O", "cancel", "-L", `${local}:${remote}`, this.#address.host];
    await runSsh(this.#client(...words), { timeoutMs });
  }

  /** Ends it, and with it all that goes through it. */
  async close(): Promise<void> {
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 1000);
    await this.#child.exited;
    clearTimeout(late);
  }

  /**
   * A client of the master reads no configuration: that of the master counts. Where the master is gone it would connect
   * by itself, which it is kept from.
   */
  #client(...words: string[]): string[] {
    const alone = ["-F", "none", "-o", "ProxyCommand=false", "-o", "BatchMode=yes"];
    return [sshProgram(), ...alone, "-S", this.#control, ...words];
  }
}

function destination({ user, host, port }: SshAddress): string[] {
  return [
    ...(user === undefined ? [] : ["-l", user]),
    ...(port === undefined ? [] : ["-p", String(port)]),
    host,
  ];
}

async function readLines(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of stream) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split(/\r?\n/);
    rest = (lines.pop() ?? "").slice(-mostSaidCharacters);
    for (const line of lines) take(line);
  }
  if (rest !== "") take(rest);
}
