/**
 * The way to a destination that ssh alone reaches: one master connection, this program brought there, a serve found or
 * started there, and a forwarding to it where its port cannot be reached directly. TLS and the pin are the same on both
 * ways; ssh says whom to pin.
 */
import { join } from "node:path";
import type { Address, TcpAddress } from "../channel/address.ts";
import type { Identity } from "../channel/identity.ts";
import { parseTicket, type Ticket } from "../channel/ticket.ts";
import type { Way } from "../channel/transport/made-way.ts";
import { TrustFile } from "../channel/trust.ts";
import { MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { carryProgram } from "./carry-program.ts";
import { type OwnProgram, ownProgram } from "./own-program.ts";
import { PrivateFolder } from "./private-folder.ts";
import { reaches } from "./reaches.ts";
import { programThere, type RemoteLook, readLook, requireSameMachine } from "./remote-look.ts";
import { lookCommand, remoteCommand, removeCommand } from "./remote-scripts.ts";
import { readSideAnswer, type SideOpened } from "./side-answer.ts";
import { type RootNeed, rootFor } from "./side-rights.ts";
import { type SshAddress, sshAddressText } from "./ssh-address.ts";
import { lastLine, placeOf } from "./ssh-failure.ts";
import { SshMaster } from "./ssh-master.ts";

export type Via = "direct" | "ssh";

export interface SshWayOptions {
  to: SshAddress;
  /** This host's home, whose trust file knows the destination's fingerprint of the last time. */
  home: string;
  /** The command that starts this program. */
  self: readonly string[];
  identity: () => Promise<Identity>;
  /** What the VM needs of the serve there. */
  needs: RootNeed;
  /** Absent: directly where the port can be reached, else through ssh. */
  via?: Via | undefined;
  /** How long a serve of our own waits there for somebody to call, in milliseconds. */
  idleMs: number;
  /** Remove the copy of this program in the end. */
  leaveNothing: boolean;
  /** A question about sessions: no folder for VMs is made for it. */
  onlyIfThere: boolean;
  /** ssh may ask on a terminal, the first time. */
  mayAsk: boolean;
  tell: (sentence: string) => void;
  warn: (sentence: string) => void;
}

/** A first connection that nobody is asked for, and one that is made again. */
const connectMs = 60_000;
const againMs = 30_000;
/** The look reads a file of 108 MiB there, at most twice. */
const lookTimeoutMs = 60_000;
/** A serve that starts looks at every VM of its store. */
const openTimeoutMs = 90_000;
/** An ssh whose other host does not answer by then is taken for lost. */
const checkMs = 15_000;
const removeTimeoutMs = 20_000;
const forwardMs = 10_000;
const directMs = 2_000;
const throughMs = 10_000;
/** Exit code of ssh for what is its own failure (ssh(1), EXIT STATUS), and of a shell that finds no program. */
const sshFailed = 255;
const notFound = [126, 127];
/** What sudo says is read: in the language that it is written in. */
const asRoot = ["env", "LC_ALL=C", "sudo", "-n", "--"];
const sudoFindsNone = /command not found/;

interface There {
  look: RemoteLook;
  program: string;
  /** This program lies there as our copy. */
  copied: boolean;
}

export class SshWay implements Way {
  readonly name: string;
  readonly address: Address;
  readonly #options: SshWayOptions;
  readonly #place: string;
  #folder: PrivateFolder | undefined;
  #master: SshMaster | undefined;
  #there: There | undefined;
  #forwarded: string | undefined;
  #opening: Promise<{ address: Address; ticket: Ticket }> | undefined;
  /** Where it was reached directly. */
  #last: { address: TcpAddress; ticket: Ticket } | undefined;
  #told = "";
  #started = false;
  #own: OwnProgram | undefined;
  readonly #closing = new AbortController();

  constructor(options: SshWayOptions) {
    this.#options = options;
    this.name = sshAddressText(options.to);
    this.#place = placeOf(options.to);
    // Where it will be is known once there is a folder; nobody dials it before `open`.
    this.address = { unix: "", name: this.name };
  }

  /**
   * As `Way.open`; the first time ssh may ask, and this program may be copied. Throws MigrateError: "network";
   * "not-trusted" if ssh does not know the host, or is not let in; "policy", "store-unusable" and others if the VM
   * cannot be received there, before anything of it is sent.
   */
  open(): Promise<{ address: Address; ticket: Ticket }> {
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /**
   * Ends all that it has here, and removes the copy there if that was asked for. A serve that was started there ends by
   * itself once the VM is there (`isDone`); else it is ended if nobody has a session with it. Never throws.
   */
  async close(isDone = false): Promise<void> {
    if (this.#options.leaveNothing && this.#there !== undefined) await this.#leaveNothing(this.#there);
    else if (!isDone && this.#started && this.#there !== undefined && this.#master?.stands === true)
      await this.#endServe("end-idle", this.#there).catch(() => {});
    this.#closing.abort();
    await this.#opening?.catch(() => {});
    await this.#master?.close();
    await this.#folder?.close();
  }

  /** A person's Ctrl-C is for whoever uses the way: what is released must still be settled over it. */
  get #signal(): AbortSignal {
    return this.#closing.signal;
  }

  async #open(): Promise<{ address: Address; ticket: Ticket }> {
    const before = this.#master;
    // Where the port is open nothing needs ssh any more, and it may be gone for good.
    if (this.#last !== undefined && (await this.#stillReached(this.#last))) return this.#last;
    if (before?.stands === true) {
      const opened = await this.#openThere(before, checkMs).catch((thrown: unknown) => {
        if (thrown instanceof ProgramGone) this.#there = undefined;
        else if (!(thrown instanceof MigrateError) || thrown.code !== "network") throw thrown;
        return null;
      });
      if (opened !== null) return await this.#chosen(before, opened);
    }
    await before?.close();
    this.#forwarded = undefined;
    const master = await this.#connect(before === undefined);
    this.#master = master;
    this.#there ??= await this.#bring(master);
    let opened: SideOpened;
    try {
      opened = await this.#openThere(master, openTimeoutMs);
    } catch (thrown) {
      if (!(thrown instanceof ProgramGone)) throw thrown;
      this.#there = await this.#bring(master);
      opened = await this.#openThere(master, openTimeoutMs);
    }
    return await this.#chosen(master, opened);
  }

  async #connect(isFirst: boolean): Promise<SshMaster> {
    const { to, self, mayAsk, tell } = this.#options;
    this.#folder ??= PrivateFolder.make();
    const asks = isFirst && mayAsk;
    return await SshMaster.open({
      address: to,
      folder: this.#folder.path,
      self,
      batch: !asks,
      timeoutMs: asks ? undefined : isFirst ? connectMs : againMs,
      signal: this.#signal,
      // What ssh asks it writes to the terminal by itself; this is what it says beside.
      ...(asks ? { said: (line: string) => tell(`ssh: ${lastLine(line)}`) } : {}),
    });
  }

  /** Looks what is there, and copies this program if it has to. */
  async #bring(master: SshMaster): Promise<There> {
    const { self, to, needs, tell } = this.#options;
    const signal = this.#signal;
    this.#own ??= await ownProgram(self);
    const program = this.#own;
    const command = lookCommand(program.hash, program.bytes, to.store ?? "");
    const run = await master.run(command, { timeoutMs: lookTimeoutMs, signal });
    if (run.code === sshFailed || run.code === null) throw master.lost(run);
    const look = readLook(run.stdout, this.#place);
    requireSameMachine(look, process.arch, this.#place);
    rootFor(look, { ...needs, store: to.store }, this.#place);
    if (look.inPath !== undefined && look.inPath.hash !== program.hash) {
      const { path, version } = look.inPath;
      const said = version === "" ? "of another build" : `another one (${printable(version)})`;
      tell(`${path} at ${this.#place} is ${said}: it is left alone`);
    }
    const found = programThere(look, program.hash);
    if (found !== null) return { look, program: found, copied: found.startsWith(`${look.cache}/`) };
    const path = await carryProgram(master, { program, look, place: this.#place, signal, tell });
    return { look, program: path, copied: true };
  }

  /** Finds or starts a serve there. Throws MigrateError; "network" if ssh has lost the other host. */
  async #openThere(master: SshMaster, timeoutMs: number): Promise<SideOpened> {
    const { to, needs, via, idleMs, onlyIfThere } = this.#options;
    if (this.#there === undefined) throw new MigrateError("bug", "nothing is known of the other host");
    const { look, program } = this.#there;
    const root = rootFor(look, { ...needs, store: to.store }, this.#place);
    const words = [
      ...(root.bySudo ? asRoot : []),
      ...[program, "ssh-side", "open", "--idle", `${Math.ceil(idleMs / 1000)}s`],
      ...(to.store === undefined ? [] : ["--store", to.store]),
      ...(needs.qemu ? ["--qemu"] : []),
      ...(needs.libvirt ? ["--libvirt"] : []),
      ...(needs.attest === true ? ["--attest"] : []),
      ...(via === "ssh" ? [] : ["--tcp"]),
      ...(onlyIfThere ? ["--only-if-there"] : []),
    ];
    const run = await master.run(remoteCommand(words), { timeoutMs, signal: this.#signal });
    const isGone = root.bySudo
      ? run.code === 1 && sudoFindsNone.test(run.stderr)
      : notFound.includes(run.code ?? 0);
    if (isGone) throw new ProgramGone();
    const answer = run.code === null ? null : readSideAnswer(run.stdout, this.#place);
    if (answer === null) {
      if (run.code === null || run.code === sshFailed) throw master.lost(run);
      if (root.bySudo && /password|not allowed|not in the sudoers/.test(run.stderr)) {
        throw new MigrateError(
          "policy",
          `sudo at ${this.#place} does not run migrate: ${lastLine(run.stderr)}`,
          {
            side: "destination",
            hint: `Let ${printable(look.user)} run sudo there without a password (NOPASSWD), or send to ssh://root@HOST.`,
          },
        );
      }
      throw new MigrateError(
        "protocol",
        `migrate at ${this.#place} ended without an answer: ${lastLine(run.stderr)}`,
        {
          side: "destination",
        },
      );
    }
    this.#started ||= !answer.found;
    const who = root.bySudo ? "root (sudo)" : printable(look.user);
    this.#tellOnce(
      `${this.#place} receives in ${printable(answer.store)}, as ${who}, by ${this.#started ? "a serve for this command alone" : "the serve that runs there"}`,
    );
    if (root.lacks !== undefined) this.#tellOnce(root.lacks);
    return answer;
  }

  /** The best way there is now. Throws MigrateError "network" if there is none. */
  async #chosen(master: SshMaster, opened: SideOpened): Promise<{ address: Address; ticket: Ticket }> {
    const { via } = this.#options;
    const identity = await this.#options.identity();
    const ticket = parseTicket(opened.ticket);
    const before = TrustFile.load(this.#options.home).knownDestination(this.name);
    if (before !== null && before !== opened.fingerprint) {
      this.#tellOnce(
        `migrate at ${this.#place} has another identity than the last time, ${opened.fingerprint}: ssh knows the host, and it is taken`,
      );
    }
    const direct = via === "ssh" ? null : await this.#direct(opened, identity);
    if (direct !== null) {
      this.#tellOnce(`${this.#place} is reached directly, at port ${direct.port}`);
      this.#last = { address: direct, ticket };
      return this.#last;
    }
    this.#last = undefined;
    if (via === "direct") throw this.#noWay(opened, "--via direct");
    const through = await this.#through(master, opened, identity);
    if (through === null) throw this.#noWay(opened, "--via ssh");
    this.#tellOnce(`${this.#place} is reached through ssh`);
    return { address: through, ticket };
  }

  async #stillReached({ address, ticket }: { address: TcpAddress; ticket: Ticket }): Promise<boolean> {
    const { identity: load, home } = this.#options;
    // Before the two are paired a ticket is needed, which may be too old by now.
    if (TrustFile.load(home).knownDestination(this.name) !== ticket.destinationFingerprint) return false;
    const identity = await load();
    return await reaches(address, ticket.destinationFingerprint, identity, directMs);
  }

  /** The first of its TCP addresses that leads to it; null if none does in time. */
  async #direct(opened: SideOpened, identity: Identity): Promise<TcpAddress | null> {
    const reachedAt = this.#there?.look.reachedAt;
    const ports = [...new Set(opened.tcp.map(({ port }) => port))];
    const asReached = reachedAt === undefined ? [] : ports.map((port) => ({ host: reachedAt, port }));
    const candidates = [...asReached, ...opened.tcp].map((place) => ({ ...place, name: this.name }));
    const tries = candidates.map(async (address) => {
      if (await reaches(address, opened.fingerprint, identity, directMs)) return address;
      throw new Error("not reached");
    });
    return await Promise.any(tries).catch(() => null);
  }

  /** Through a forwarding to where it listens there; null if nothing comes through. */
  async #through(master: SshMaster, opened: SideOpened, identity: Identity): Promise<Address | null> {
    const local = join(this.#folder?.path ?? "", "way");
    const address = { unix: local, name: this.name };
    const leads = () => reaches(address, opened.fingerprint, identity, throughMs);
    if (this.#forwarded === opened.way && (await leads())) return address;
    if (this.#forwarded !== undefined) await master.unforward(local, this.#forwarded, forwardMs);
    this.#forwarded = opened.way;
    if (!(await master.forward(local, opened.way, forwardMs))) return null;
    return (await leads()) ? address : null;
  }

  #noWay({ tcp, way }: SideOpened, asked: string): MigrateError {
    const ports = [...new Set(tcp.map(({ port }) => port))];
    const port = ports.length === 0 ? null : `port ${ports.join(", ")} there is not reached from here`;
    const isSocket = way.startsWith("/");
    const directive = isSocket ? "AllowStreamLocalForwarding" : "AllowTcpForwarding";
    const forwarding = `ssh there forwards no ${isSocket ? "unix socket" : "port"} (${directive}, or DisableForwarding)`;
    const open = ports.length === 0 ? "a port there" : `port ${ports[0]} there`;
    return asked === "--via direct"
      ? new MigrateError("network", `no direct way to ${this.#place}: ${port ?? "it listens on no port"}`, {
          side: "destination",
          hint: `Open ${open} to this host, or leave out --via direct: then the VM goes through ssh.`,
        })
      : new MigrateError(
          "policy",
          `nothing can be carried to ${this.#place}: ${forwarding}${port === null ? "" : `, and ${port}`}`,
          {
            side: "destination",
            hint: `Allow one of the two: ${directive} yes in sshd_config there, or open ${open} to this host${port === null ? " and leave out --via ssh" : ""}.`,
          },
        );
  }

  /** Has a serve that was started for those who come by ssh end there; true unless it is needed. */
  async #endServe(verb: "end" | "end-idle", { look, program }: There): Promise<boolean> {
    const { to, needs } = this.#options;
    const root = rootFor(look, { ...needs, store: to.store }, this.#place);
    const words = [...(root.bySudo ? asRoot : []), program, "ssh-side", verb];
    const store = to.store === undefined ? [] : ["--store", to.store];
    const run = await this.#master?.run(remoteCommand([...words, ...store]), { timeoutMs: removeTimeoutMs });
    return run?.code === 0;
  }

  async #leaveNothing(there: There): Promise<void> {
    const { copied, program } = there;
    const { tell, warn } = this.#options;
    const master = this.#master;
    const path = printable(program);
    const left = `the copy of this program stays at ${this.#place}: ${path}`;
    if (master?.stands !== true) {
      if (copied) warn(`${left} (ssh is gone)`);
      return;
    }
    try {
      const hasEnded = await this.#endServe("end", there);
      if (!copied) return;
      if (!hasEnded) {
        warn(`${left}: a serve with sessions that have not ended runs from it`);
        return;
      }
      const hash = this.#own?.hash ?? "";
      const run = await master.run(removeCommand(hash), { timeoutMs: removeTimeoutMs });
      if (run.code !== 0) warn(left);
      else
        tell(
          `removed from ${this.#place}: ${path}. What stays there: the VM, and migrate's own folder with its journal`,
        );
    } catch (thrown) {
      warn(`${left} (${(thrown as Error).message})`);
    }
  }

  /** What is the same after each lost link is said once. */
  #tellOnce(sentence: string): void {
    if (this.#told.includes(`${sentence}\n`)) return;
    this.#told += `${sentence}\n`;
    this.#options.tell(sentence);
  }
}

/** The program that was there is there no more. */
class ProgramGone extends Error {}
