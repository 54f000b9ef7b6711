/** `migrate send`: moves a VM from this host to another. */
import { startGuard } from "../migration/source/guard.ts";
import { sendVm } from "../migration/source/send.ts";
import { MigrateError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { verifyKinds } from "../protocol/offer.ts";
import { type Compression, highestLevel } from "../transfer/compression/compression.ts";
import { flagOf, readValue, usageErrors } from "./cli/arguments.ts";
import {
  homeOf,
  passphraseBefore,
  passphraseOptions,
  tpmPassphraseFrom,
  warnInsecure,
} from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import {
  defaultPort,
  duration,
  oneOf,
  optional,
  size,
  toggle,
  wholeNumber,
  withDefault,
} from "./cli/option.ts";
import { calledHost, openHost, sshOptions } from "./cli/ssh-host.ts";
import { mostUsualLanes, usualLanes } from "./cli/threads.ts";
import { hasTicket, ticketFrom, ticketOptions } from "./cli/ticket-input.ts";
import { leaveOptions, needsOf, vmName, vmOptions, whichVm } from "./send/which-vm.ts";

const name = "migrate send";

const usualRetryForMs = 10 * 60_000;
/** A serve that ssh has started there is not gone before a lost link is noticed. */
const leastIdleMs = 2 * 60_000;

/** The values of --compress, for the help. */
const compressionForm = `auto|off|1..${highestLevel}`;

export default defineCommand({
  name,
  summary: "move a VM from this host to another one",
  about:
    "VM is qmp:PATH, the QMP socket of a QEMU that runs it, libvirt:NAME, a domain of libvirt, or a folder with a vm.json. Without one, name the files: --name, --ram, --disk, --raw-disk, --tpm-state, and give HOST:PORT alone. A VM that is switched off has no RAM file.\n\nA VM that runs is moved with its disks and its virtual TPM while it runs, and is stopped for the last moment alone; --mode stop stops it first. The destination must serve with --qemu. Whatever fails before this host gives the VM up leaves it running here.\n\nThe source gives the VM up only after the destination has every byte durable and checked. Given again after a cut or a crash, the same command resumes where it stopped; a VM that runs and was not released is moved anew.",
  usage: [
    `${name} VM HOST:PORT [FLAGS]`,
    `${name} qmp:PATH HOST:PORT [--mode live|stop] [FLAGS]`,
    `${name} libvirt:NAME HOST:PORT [--mode stop] [FLAGS]`,
    `${name} VM ssh://[USER@]HOST[:PORT][/STORE] [FLAGS]`,
    `${name} --name NAME [--ram FILE] [--disk FILE]... HOST:PORT [FLAGS]`,
  ],
  positionals: {
    names: ["VM", "HOST:PORT"],
    least: 1,
    about: [
      "qmp:PATH of a VM that runs, libvirt:NAME, or the folder of one that does not run",
      `Where migrate serve listens; the port is ${defaultPort} if left out; unix:PATH is a socket of this host that leads there, and with ssh://HOST nothing needs to be there yet but ssh`,
    ],
  },
  options: {
    ...ticketOptions,
    ...vmOptions,
    streams: optional(
      "N",
      `Connections, each with a thread at both ends, 1 to ${limits.lanes} (default: one a core, at most ${mostUsualLanes})`,
      wholeNumber(1, limits.lanes),
    ),
    compress: withDefault(
      compressionForm,
      "Compress with zstd, and send once what the VM has twice: auto does so if the link is slower than that, a number (zstd's level) always does, off never",
      "auto",
      parseCompression,
    ),
    base: optional("NAME", "A VM at the destination that this one has much in common with", vmName),
    bandwidth: optional("RATE", "At most so many bytes a second; K, M, G, T are powers of 1024: 200M", size),
    ...leaveOptions,
    verify: withDefault(
      verifyKinds.join("|"),
      "Whether the destination reads back what it has written before this host lets go: auto does where its memory holds all of it, disk reads it from the disk, off compares what arrived alone",
      "auto",
      oneOf(verifyKinds),
    ),
    retryFor: optional(
      "TIME",
      "How long a lost link is tried again (default: 10m), and, if it is given, a destination that has not answered yet",
      duration(0, 7 * 24 * 3_600_000),
    ),
    timeout: optional(
      "TIME",
      "Give the move up if it is not at the handover after so long: the VM goes on here, exit code 4 (default: never); see --on-timeout",
      duration(1, 7 * 24 * 3_600_000),
    ),
    onTimeout: optional(
      "WHAT",
      "What --timeout does: cancel (the default), or force, which stops a VM that is moved live, so that its move gets done; it stands still for as long as that takes",
      oneOf(["cancel", "force"]),
    ),
    ...sshOptions,
    attest: toggle(
      "Nothing of the VM goes to a host that does not prove, by its TPM, that it is in the state that was recorded (migrate attest record)",
    ),
    prove: toggle("Prove what this host runs, by its TPM, to a destination that demands it"),
    insecure: toggle("Plain TCP, nobody authenticated, nothing encrypted; serve must have it too"),
    ...passphraseOptions,
  },
  examples: [
    [
      "migrate send qmp:/run/web1.qmp ssh://root@hostb",
      "to a host that ssh reaches, with nothing set up there",
    ],
    [
      "migrate send /srv/vms/web1 192.0.2.7:7600 --ticket -",
      "the first time: asks for the ticket that serve printed",
    ],
    ["migrate send qmp:/run/web1.qmp 192.0.2.7", "a VM that runs, while it runs"],
    [
      "migrate send --name web1 --ram web1.ram --disk web1.qcow2 192.0.2.7",
      "a VM given by its files, to a host already paired",
    ],
  ],
  side: "source",
  async run({ options, positionals, world, reporter }) {
    const refuse = usageErrors(name);
    const { vm, host, isKept, after } = whichVm(positionals, options, {
      ...{ command: name, refuse, needsHost: true },
    });
    const isLive = ("qmp" in vm || "libvirt" in vm) && options.mode !== "stop";
    if (options.onTimeout !== undefined && options.timeout === undefined)
      throw refuse("--on-timeout says what --timeout does", "Give --timeout TIME as well.");
    if (options.onTimeout === "force" && !isLive)
      throw refuse("--on-timeout force is about a live move", "It stops the VM, which does not run here.");
    if (options.insecure && hasTicket(options))
      throw refuse(
        "--insecure and --ticket exclude each other",
        "A ticket proves who is there; --insecure asks nobody.",
      );
    const proof = options.attest ? "--attest" : options.prove && "--prove";
    if (options.insecure && proof)
      throw refuse(
        `${proof} and --insecure exclude each other`,
        "A proof is bound to a connection on which both ends are known.",
      );
    const to = readValue("HOST:PORT", () => calledHost(host ?? ""), refuse);
    const sshFlag = (["via", "leaveNothing"] as const).find((flag) => options[flag]);
    if (to.ssh === undefined && sshFlag !== undefined)
      throw refuse(`${flagOf(sshFlag)} is about a host that is reached by ssh, which is given as ssh://HOST`);
    if (to.ssh !== undefined && (options.insecure || hasTicket(options)))
      throw refuse(
        `--${options.insecure ? "insecure" : "ticket"} is not for a host that is reached by ssh`,
        "ssh brings a ticket of its own; leave it out.",
      );
    const home = homeOf(world);
    warnInsecure(reporter, options.insecure);
    const ticket = await ticketFrom(world, options);
    const passphrase = await passphraseBefore(world, home, options.passphraseFile);
    const sealTpm = await tpmPassphraseFrom(world, options.sealTpm);
    const retryForMs = options.retryFor ?? usualRetryForMs;
    const { via, leaveNothing, attest } = options;
    const needs = needsOf(vm);
    const idleMs = Math.max(leastIdleMs, retryForMs);
    const there = openHost(
      to,
      { home, needs, via, leaveNothing, attest, idleMs, passphrase },
      { world, reporter },
    );
    let isDone = false;
    try {
      // The report is the `done` event, which the observer has had.
      await sendVm(
        {
          home,
          vm,
          address: there.address,
          way: there.way,
          ...(ticket === undefined ? {} : { ticket }),
          lanes: options.streams ?? usualLanes(),
          ...(options.bandwidth === undefined ? {} : { bandwidthBytesPerSec: options.bandwidth }),
          compression: options.compress,
          base: options.base,
          verify: options.verify,
          after,
          sealTpm,
          vmPolicy: options.vmPolicy,
          copy: options.copy,
          retryForMs,
          timeoutMs: options.timeout,
          forces: options.onTimeout === "force",
          waitsForFirst: options.retryFor !== undefined,
          insecure: options.insecure,
          ...{ attests: attest, proves: options.prove, env: world.env },
          passphrase,
          ...(isKept ? { guard: (session: string) => startGuard(world.self, home, session) } : {}),
          signal: world.interrupts(reporter),
        },
        reporter.observer,
      );
      isDone = true;
    } finally {
      await there.close(isDone);
    }
    return undefined;
  },
});

/**
 * "auto", "off" or a level from 1 to 19.
 * @throws MigrateError "usage"; its message ends a sentence that begins with the flag.
 */
export function parseCompression(text: string): Compression {
  if (text === "auto" || text === "off") return text;
  const level = /^[1-9]\d?$/.test(text) ? Number(text) : 0;
  if (level >= 1 && level <= highestLevel) return level;
  throw new MigrateError("usage", `must be auto, off or a level from 1 to ${highestLevel}, not "${text}"`);
}
