/** `migrate serve`: waits for VMs on the destination host. */
import { resolve } from "node:path";
import { type ListenAddress, listenText } from "../channel/address.ts";
import { type LastServe, noteLastServe } from "../home/last-serve.ts";
import type { StartMeasuring } from "../migration/destination/measuring.ts";
import { serve } from "../migration/destination/serve.ts";
import { everywhere } from "../migration/destination/serving/reachable.ts";
import { asMigrateError, exitCodes, MigrateError } from "../protocol/errors.ts";
import type { Reporter } from "../terminal/reporter.ts";
import { Confinement } from "../vm/confinement/confinement.ts";
import { systemUri } from "../vm/libvirt/virsh.ts";
import { vncPolicies } from "../vm/qemu/definition/consoles/display.ts";
import { usageErrors } from "./cli/arguments.ts";
import { homeOf, passphraseBefore, passphraseOptions, warnInsecure } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { Interruption } from "./cli/interruption.ts";
import { netPolicyAbout, netPolicyForm, parseNetPolicy } from "./cli/net-policy.ts";
import {
  asWritten,
  defaultPort,
  duration,
  needed,
  oneOf,
  optional,
  repeated,
  toggle,
  wholeNumber,
  withDefault,
} from "./cli/option.ts";
import { usualDoors } from "./cli/threads.ts";
import { listenAddress } from "./cli/unix-address.ts";
import { parseUserRange } from "./cli/user-range.ts";

const vncForm = vncPolicies.join("|");

export default defineCommand({
  name: "migrate serve",
  summary: "wait on this host for VMs and take them in",
  about:
    "Prints its address, its fingerprint and a migrate send line with a ticket, which pairs one source with this host. A VM ends in DIR under its own name, with a vm.json, once every byte of it is durable and checked.\n\nSIGTERM finishes the chunk in hand and leaves every session resumable; a running VM that is still on its way stays at its source.",
  options: {
    listen: repeated(
      "HOST:PORT|unix:PATH",
      `Where to listen (default: [::]:${defaultPort}, every address of this host, IPv4 too); port 0 takes a free one, and a unix socket is for this user and root alone; may be given twice`,
      listenAddress,
    ),
    store: needed("DIR", "Folder that the VMs go to"),
    once: toggle("End after one VM"),
    idle: optional(
      "TIME",
      "End when no source has been connected for so long, and as soon as none is once a VM has arrived",
      duration(1000, 7 * 24 * 3_600_000),
    ),
    maxSessions: withDefault("N", "VMs at the same time at most", "16", wholeNumber(1, 256)),
    ticketTtl: withDefault(
      "TIME",
      "How long a ticket can be used",
      "15m",
      duration(1000, 7 * 24 * 3_600_000),
    ),
    index: withDefault(
      "on|off",
      "Know what the store's VMs hold, so that what is here already need not come again",
      "on",
      oneOf(["on", "off"]),
    ),
    insecure: toggle("Plain TCP, nobody authenticated, nothing encrypted; send must have it too"),
    qemu: toggle("Take in VMs that run, and run them here"),
    allowTcg: toggle("With --qemu: a VM that ran with KVM may run without it here, slowly"),
    net: optional(
      netPolicyForm,
      `With --qemu: what is behind a VM's network cards here (default: none), ${netPolicyAbout}`,
      asWritten(parseNetPolicy),
    ),
    vnc: optional(
      vncForm,
      "With --qemu: what shows the screen of a VM that has one (default: none): a socket in its run folder, or a port of 127.0.0.1, without a password",
      oneOf(vncPolicies),
    ),
    libvirt: toggle("Take in VMs of libvirt, and have this host's libvirt run them"),
    attest: toggle("Prove what this host runs, by its TPM, to sources that ask (migrate send --attest)"),
    requireAttestation: toggle(
      "Take VMs only from sources that prove what they run (migrate send --prove), and whose state is recorded here (migrate attest record)",
    ),
    connect: optional("URI", `With --libvirt: where it is reached (default: ${systemUri})`),
    netMap: optional(
      "MAP",
      "With --libvirt: what is behind the network cards here (default: none), by source network, bridge or MAC: default=br0,52:54:00:12:34:56=network:lan",
    ),
    vmUsers: optional(
      "FIRST-LAST|off",
      "With --qemu, as root: the users as which VMs run, one each (default: 1900000000-1900065535)",
      asWritten(parseUserRange),
    ),
    profilePort: withDefault(
      "PORT",
      "Where a paired source may measure (migrate profile --to): this port and the next; 0 takes free ones, off refuses",
      "0",
      portOrOff,
    ),
    ...passphraseOptions,
  },
  examples: [
    ["migrate serve --store /srv/vms", "listen on all addresses, port 7600"],
    ["migrate serve --store /var/lib/vms --libvirt", "take in VMs of libvirt (migrate send libvirt:NAME)"],
    ["migrate serve --store /var/lib/vms --qemu", "take in VMs that run, too (migrate send qmp:PATH)"],
    [
      "migrate serve --listen 127.0.0.1:0 --store /srv/vms --once --json",
      "one VM, on a free port, for a script",
    ],
  ],
  side: "destination",
  async run({ options, world, reporter }) {
    const needsQemu = options.allowTcg
      ? "--allow-tcg"
      : (options.net && "--net") || (options.vmUsers && "--vm-users") || (options.vnc && "--vnc");
    if (!options.qemu && needsQemu !== undefined)
      throw usageErrors("migrate serve")(`${needsQemu} is about VMs that run: it needs --qemu`);
    const needsLibvirt =
      options.connect !== undefined ? "--connect" : options.netMap !== undefined ? "--net-map" : undefined;
    if (!options.libvirt && needsLibvirt !== undefined)
      throw usageErrors("migrate serve")(`${needsLibvirt} is about VMs of libvirt: it needs --libvirt`);
    const needsPeers = options.attest ? "--attest" : options.requireAttestation && "--require-attestation";
    if (options.insecure && needsPeers)
      throw usageErrors("migrate serve")(
        `${needsPeers} and --insecure exclude each other`,
        "A proof is bound to a connection on which both ends are known.",
      );
    if (options.listen.length > mostPlaces)
      throw usageErrors("migrate serve")(`--listen may be given ${mostPlaces} times at most`);
    const texts = options.listen.map(listenText);
    if (new Set(texts).size < texts.length)
      throw usageErrors("migrate serve")(`--listen ${texts[0]} is given twice`);
    const listen = options.listen.length > 0 ? options.listen : [everywhere(defaultPort)];
    const home = homeOf(world);
    warnInsecure(reporter, options.insecure);
    const passphrase = await passphraseBefore(world, home, options.passphraseFile);
    const signal = world.interrupts(reporter);
    await serve(
      {
        home,
        listen,
        store: resolve(options.store),
        once: options.once,
        idleMs: options.idle,
        maxSessions: options.maxSessions,
        ticketTtlMs: options.ticketTtl,
        insecure: options.insecure,
        index: options.index === "on",
        ...(options.qemu
          ? {
              qemu: {
                allowTcg: options.allowTcg,
                net: options.net?.value ?? { kind: "none" },
                users: options.vmUsers?.value,
                vnc: options.vnc,
                confinement: await Confinement.find({ self: world.self, users: options.vmUsers?.value }),
              },
            }
          : {}),
        ...(options.libvirt
          ? { libvirt: { uri: options.connect ?? systemUri, netMap: options.netMap ?? "none" } }
          : {}),
        attesting: {
          ...{ proves: options.attest, demands: options.requireAttestation },
          env: world.env,
        },
        workers: usualDoors(),
        passphrase,
        signal,
        ...(options.profilePort === null
          ? {}
          : { measure: measuring(world.self, measuringHost(listen), options.profilePort) }),
      },
      (event) => {
        reporter.observer(event);
        // One that ends by itself was started for a move: it is not what a person has this host serve.
        if (event.event === "listening" && options.idle === undefined) note(home, lastOf(options), reporter);
      },
    );
    const { reason } = signal;
    // SIGTERM is how a service is stopped, and all is as it should be; SIGINT is a person's Ctrl-C.
    return reason instanceof Interruption && reason.signal === "SIGINT"
      ? exitCodes.interrupted
      : exitCodes.done;
  },
});

interface Given {
  store: string;
  qemu: boolean;
  allowTcg: boolean;
  net: { text: string } | undefined;
  vmUsers: { text: string } | undefined;
  vnc: string | undefined;
  libvirt: boolean;
  connect: string | undefined;
  netMap: string | undefined;
  attest: boolean;
  requireAttestation: boolean;
}

function lastOf(given: Given): LastServe {
  const { store, qemu, allowTcg, net, vmUsers, vnc, libvirt, connect, netMap } = given;
  return {
    store: resolve(store),
    qemu,
    allowTcg,
    net: net?.text ?? null,
    vmUsers: vmUsers?.text ?? null,
    vnc: vnc ?? null,
    libvirt,
    connect: connect ?? null,
    netMap: netMap ?? null,
    attest: given.attest,
    requireAttestation: given.requireAttestation,
  };
}

/** That it cannot be noted keeps no VM away. */
function note(home: string, last: LastServe, reporter: Reporter): void {
  try {
    noteLastServe(home, last);
  } catch (thrown) {
    reporter.warn(asMigrateError(thrown).message);
  }
}

/** How many places it listens in: a port and a unix socket are what is needed. */
const mostPlaces = 2;

/** Who can reach a unix socket alone reaches this host's own address, or has it forwarded. */
function measuringHost(listen: readonly ListenAddress[]): string {
  const tcp = listen.find((place) => "host" in place);
  return tcp?.host ?? "127.0.0.1";
}

/** Largest number of bytes that one run may send: that they are discarded makes them no less work. */
const mostProfileBytes = 1024 ** 4;

/** Starts a process that discards what a source measures with. */
function measuring(self: readonly string[], host: string, port: number): StartMeasuring {
  return async ({ source, mostBytes }) => {
    if (mostBytes > mostProfileBytes)
      throw new MigrateError("limit", "the destination measures with 1 TiB a run at most", {
        side: "destination",
      });
    // Loaded by those alone who are asked to measure.
    const { openPeerProcess } = await import("../profiler/engine/thesis-sides.ts");
    const peer = await openPeerProcess({
      self,
      host,
      port,
      source,
      folder: null,
      mostBytes,
      prepare: [],
      link: "",
    });
    const { port: tlsPort, plainPort, destination, secret } = peer.address;
    return { port: tlsPort, plainPort, destination, secret, close: peer.close };
  };
}

/** A port whose next one is a port too, 0, or null for "off". */
function portOrOff(text: string): number | null {
  return text === "off" ? null : wholeNumber(0, 65_534)(text);
}
