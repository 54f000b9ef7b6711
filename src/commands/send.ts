/** `migrate send`: moves a VM from this host to another. */
import { startGuard } from "../migration/source/guard.ts";
import { sendVm } from "../migration/source/send.ts";
import { MigrateError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { checkVmName } from "../protocol/names.ts";
import { verifyKinds } from "../protocol/offer.ts";
import { type Compression, highestLevel } from "../transfer/compression/compression.ts";
import { systemUri } from "../vm/libvirt/virsh.ts";
import { droppable, isDroppable } from "../vm/qemu/images/left-behind.ts";
import { flagOf, readValue, usageErrors } from "./cli/arguments.ts";
import { homeOf, passphraseBefore, passphraseOptions, warnInsecure } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { dropped } from "./cli/dropped.ts";
import {
  defaultPort,
  duration,
  list,
  oneOf,
  optional,
  repeated,
  size,
  toggle,
  wholeNumber,
  withDefault,
} from "./cli/option.ts";
import { calledHost, openHost, sshOptions } from "./cli/ssh-host.ts";
import { mostUsualLanes, usualLanes } from "./cli/threads.ts";
import { hasTicket, ticketFrom, ticketOptions } from "./cli/ticket-input.ts";

const name = "migrate send";

/** What marks a VM that runs: the path of its QEMU's QMP socket follows. */
const qmpPrefix = "qmp:";
/** What marks a domain of libvirt: its name or UUID follows. */
const libvirtPrefix = "libvirt:";
const usualRetryForMs = 10 * 60_000;
/** A serve that ssh has started there is not gone before a lost link is noticed. */
const leastIdleMs = 2 * 60_000;
/** QEMU's own downtime limit is the same. */
const usualDowntimeMs = 300;
const notForStop: readonly string[] = ["downtimeLimit", "autoConverge"];

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
    name: optional("NAME", "Name of a VM given by its files, or another one for a VM that runs"),
    ram: optional("FILE", "Its saved RAM"),
    disk: list("FILE", "A disk of it: a whole qcow2 image, or a raw one that looks like no other format"),
    rawDisk: list("FILE", "A disk of it that is raw, whatever a guest wrote on it"),
    withoutRam: toggle("Send a VM in a folder as it was switched off, without the saved RAM that lies there"),
    tpmState: optional("DIR", "The state folder of its virtual TPM"),
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
    after: optional(
      "WHAT",
      "What becomes of the source's files: keep, rename (to *.migrated, the default) or delete",
      oneOf(["keep", "rename", "delete"]),
    ),
    mode: optional(
      "MODE",
      "Of a VM that runs: live (the default), or stop, which stops it before anything is sent",
      oneOf(["live", "stop"]),
    ),
    downtimeLimit: optional(
      "TIME",
      "Of a live move: how long the VM may stand still at its end (default: 300ms)",
      duration(1, 60_000),
    ),
    autoConverge: optional(
      "on|off",
      "Of a live move: slow the VM down if it writes memory faster than the link carries it (default: on)",
      oneOf(["on", "off"]),
    ),
    cpuCheck: optional(
      "on|off",
      "Of a VM that runs: have the destination refuse it, before it is sent, if its processor or its QEMU is not enough (default: on)",
      oneOf(["on", "off"]),
    ),
    connect: optional("URI", `Of a VM of libvirt: where that is reached (default: ${systemUri})`),
    drop: repeated(
      `${droppable.join("|")}|ELEMENT`,
      "Move the VM without these, where they cannot be carried: of one that runs, or an element of a domain's XML",
      dropped,
    ),
    multifd: optional(
      "N",
      `Of a VM that runs: N more connections for its RAM, at most ${limits.ramStreams - 1}`,
      wholeNumber(1, limits.ramStreams - 1),
    ),
    verify: withDefault(
      verifyKinds.join("|"),
      "Whether the destination reads back what it has written before this host lets go: auto does where its memory holds all of it, disk reads it from the disk, off compares what arrived alone",
      "auto",
      oneOf(verifyKinds),
    ),
    copy: toggle("Make a copy: the source keeps the VM and owns it still"),
    retryFor: optional(
      "TIME",
      "How long a lost link is tried again (default: 10m), and, if it is given, a destination that has not answered yet",
      duration(0, 7 * 24 * 3_600_000),
    ),
    timeout: optional(
      "TIME",
      "Give the move up if it is not at the handover after so long: the VM goes on here, exit code 4 (default: never)",
      duration(1, 7 * 24 * 3_600_000),
    ),
    ...sshOptions,
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
    const domain = positionals[0]?.startsWith(libvirtPrefix)
      ? positionals[0].slice(libvirtPrefix.length)
      : null;
    const running = positionals[0]?.startsWith(qmpPrefix) === true;
    const files =
      options.ram !== undefined ||
      options.disk.length > 0 ||
      options.rawDisk.length > 0 ||
      options.tpmState !== undefined;
    const adHoc = !running && (files || options.name !== undefined);
    const refuse = usageErrors(name);
    const expected = adHoc ? 1 : 2;
    if (positionals.length > expected)
      throw refuse(
        "A VM is given by its folder or by its files, not both",
        "Leave out the folder, or --name, --ram, --disk, --raw-disk and --tpm-state.",
      );
    if (positionals.length < expected)
      throw refuse("HOST:PORT is missing", `Say where to: ${name} ${positionals[0]} HOST:PORT`);
    if (adHoc && options.name === undefined)
      throw refuse("--name is missing", "A VM given by its files needs a name.");
    if (running && files)
      throw refuse(
        "The files of a VM that runs are found by its QEMU",
        "Leave out --ram, --disk, --raw-disk and --tpm-state.",
      );
    if (running && positionals[0] === qmpPrefix)
      throw refuse("The path of the QMP socket is missing", "Write it behind the colon: qmp:/run/web1.qmp");
    if (domain === "")
      throw refuse("The domain's name is missing", "Write it behind the colon: libvirt:web1");
    if (domain !== null && (files || options.name !== undefined))
      throw refuse(
        "What a domain consists of, and its name, libvirt tells",
        "Leave out --name and its files.",
      );
    if (domain !== null && options.copy)
      throw refuse("A domain can be moved, not copied", "Leave out --copy.");
    if (domain === null && options.connect !== undefined)
      throw refuse("--connect is about a VM of libvirt, which is given as libvirt:NAME");
    if (running && options.copy) throw refuse("A VM that runs can be moved, not copied", "Leave out --copy.");
    const liveFlag = (["mode", "multifd", "downtimeLimit", "autoConverge"] as const).find(
      (flag) =>
        options[flag] !== undefined &&
        ((!running && domain === null) || (options.mode === "stop" && notForStop.includes(flag))),
    );
    if (liveFlag !== undefined)
      throw refuse(
        running || domain !== null
          ? `${flagOf(liveFlag)} is about a live move`
          : `${flagOf(liveFlag)} is about a VM that runs, which is given as qmp:PATH`,
      );
    if (options.withoutRam && (running || adHoc || domain !== null))
      throw refuse(
        "--without-ram is about a VM that is given by its folder",
        adHoc ? "Leave out --ram." : "A VM that runs has its RAM in QEMU.",
      );
    if (options.cpuCheck !== undefined && !running)
      throw refuse("--cpu-check is about a VM that runs, which is given as qmp:PATH");
    if (options.drop.length > 0 && !running && domain === null)
      throw refuse("--drop is about a VM that runs, which is given as qmp:PATH, or a domain of libvirt");
    const strange = running ? options.drop.find((what) => !isDroppable(what)) : undefined;
    if (strange !== undefined)
      throw refuse(`--drop takes ${droppable.join(" and ")} of a VM that runs, not ${strange}`);
    if (options.drop.includes("snapshots") && options.mode === "stop")
      throw refuse("--drop snapshots is about a live move", "--mode stop keeps the snapshots.");
    if (options.copy && options.after !== undefined)
      throw refuse("--copy and --after exclude each other", "A copy leaves the source's files as they are.");
    if (options.insecure && hasTicket(options))
      throw refuse(
        "--insecure and --ticket exclude each other",
        "A ticket proves who is there; --insecure asks nobody.",
      );
    const to = readValue("HOST:PORT", () => calledHost(positionals.at(-1) ?? ""), refuse);
    const sshFlag = (["via", "leaveNothing"] as const).find((flag) => options[flag]);
    if (to.ssh === undefined && sshFlag !== undefined)
      throw refuse(`${flagOf(sshFlag)} is about a host that is reached by ssh, which is given as ssh://HOST`);
    if (to.ssh !== undefined && (options.insecure || hasTicket(options)))
      throw refuse(
        `--${options.insecure ? "insecure" : "ticket"} is not for a host that is reached by ssh`,
        "ssh brings a ticket of its own; leave it out.",
      );

    const vm = running
      ? {
          qmp: positionals[0]!.slice(qmpPrefix.length),
          name: options.name,
          live: options.mode !== "stop",
          drop: options.drop.filter(isDroppable),
          cpuCheck: options.cpuCheck !== "off",
          after: options.after,
          downtimeLimitMs: options.downtimeLimit ?? usualDowntimeMs,
          autoConverge: options.autoConverge !== "off",
          channels: options.multifd ?? 0,
          workers: usualLanes(),
        }
      : domain !== null
        ? {
            libvirt: domain,
            connect: options.connect ?? systemUri,
            live: options.mode !== "stop",
            drop: options.drop,
            downtimeLimitMs: options.downtimeLimit ?? usualDowntimeMs,
            autoConverge: options.autoConverge !== "off",
            workers: usualLanes(),
          }
        : adHoc
          ? {
              name: options.name ?? "",
              ram: options.ram,
              disks: options.disk,
              rawDisks: options.rawDisk,
              tpmStateDir: options.tpmState,
            }
          : { folder: positionals[0] ?? "", withoutRam: options.withoutRam };
    const home = homeOf(world);
    warnInsecure(reporter, options.insecure);
    const ticket = await ticketFrom(world, options);
    const passphrase = await passphraseBefore(world, home, options.passphraseFile);
    const retryForMs = options.retryFor ?? usualRetryForMs;
    const { via, leaveNothing } = options;
    const needs = { qemu: running, libvirt: domain !== null };
    const idleMs = Math.max(leastIdleMs, retryForMs);
    const host = openHost(to, { home, needs, via, leaveNothing, idleMs, passphrase }, { world, reporter });
    let isDone = false;
    try {
      // The report is the `done` event, which the observer has had.
      await sendVm(
        {
          home,
          vm,
          address: host.address,
          way: host.way,
          ...(ticket === undefined ? {} : { ticket }),
          lanes: options.streams ?? usualLanes(),
          ...(options.bandwidth === undefined ? {} : { bandwidthBytesPerSec: options.bandwidth }),
          compression: options.compress,
          base: options.base,
          verify: options.verify,
          after: options.copy ? "keep" : (options.after ?? "rename"),
          copy: options.copy,
          retryForMs,
          timeoutMs: options.timeout,
          waitsForFirst: options.retryFor !== undefined,
          insecure: options.insecure,
          passphrase,
          ...(running || domain !== null
            ? { guard: (session: string) => startGuard(world.self, home, session) }
            : {}),
          signal: world.interrupts(reporter),
        },
        reporter.observer,
      );
      isDone = true;
    } finally {
      await host.close(isDone);
    }
    return undefined;
  },
});

/** The name of a VM at the destination. */
function vmName(text: string): string {
  const wrong = checkVmName(text);
  if (wrong !== null) throw new MigrateError("usage", `is no name of a VM: ${wrong}`);
  return text;
}

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
