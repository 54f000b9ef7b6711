/**
 * This host's libvirt, as a destination has domains defined and started by it, and what it is asked before anything of
 * one is received.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { type NetMap, readNetMap } from "../../../vm/libvirt/definition/net-map.ts";
import { findDomain } from "../../../vm/libvirt/domains.ts";
import { LibvirtError, stdinFile, Virsh } from "../../../vm/libvirt/virsh.ts";
import { writeXml } from "../../../vm/libvirt/xml/write-xml.ts";
import { hasTpmState } from "./tpm-place.ts";

const refusal = (code: "policy" | "processor" | "name-taken", message: string, cause?: unknown) =>
  new MigrateError(code, message, { side: "destination", cause });

/** Where the daemon listens: libvirtd, or the modular one (libvirt daemons.rst). */
const sockets = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];

/** The oldest libvirt whose words are known here: the one that has `hypervisor-cpu-compare`. */
const leastVersion = { major: 4, minor: 4 } as const;

export class LandingHost {
  readonly virsh: Virsh;

  /** Throws MigrateError "usage" if that is no URI of a system daemon. */
  constructor(uri: string) {
    this.virsh = new Virsh(uri, "destination");
  }

  /**
   * Returns the daemon's version. Throws MigrateError "policy", with a way out, if libvirt cannot be reached, or is too
   * old. For whoever serves.
   */
  async requireReachable(): Promise<string> {
    const text = await this.virsh.run(["version", "--daemon"]);
    const [, major, minor] = /daemon:\s*(\d+)\.(\d+)\.\d+/i.exec(text) ?? [];
    if (major === undefined || minor === undefined) {
      throw new MigrateError("policy", "libvirt does not say its version", { side: "destination" });
    }
    const isOld =
      Number(major) < leastVersion.major ||
      (Number(major) === leastVersion.major && Number(minor) < leastVersion.minor);
    if (!isOld) return `${major}.${minor}`;
    throw new MigrateError("policy", `libvirt ${major}.${minor} is too old to take in domains`, {
      side: "destination",
      hint: `It has to be ${leastVersion.major}.${leastVersion.minor} or later.`,
    });
  }

  /** The socket of the daemon. Throws MigrateError "policy" if it is not there. */
  get socketPath(): string {
    const own = /[?&]socket=([^&]+)/.exec(this.virsh.uri)?.[1];
    const path = [...(own === undefined ? sockets : [own])].find((at) => existsSync(at));
    if (path !== undefined) return path;
    throw refusal("policy", "the destination's libvirt has no socket");
  }

  /** The user as whom libvirt runs QEMU: a uid. Throws MigrateError "libvirt-failed". */
  async qemuUser(): Promise<number> {
    const text = await this.virsh.run(["capabilities"]);
    const [, uid] = /<model>dac<\/model>[\s\S]*?<baselabel[^>]*>\+(\d+):\+\d+<\/baselabel>/.exec(text) ?? [];
    return Number(uid ?? 0);
  }

  /**
   * Throws MigrateError if this host's libvirt cannot have the domain: "name-taken" if it has its name or UUID,
   * "policy" if it lacks the machine, an emulator or firmware, "processor" if it lacks the processor.
   */
  async requireFitting(domain: Domain): Promise<void> {
    try {
      // Each question is a process: they are asked at once.
      await Promise.all([
        this.requireFree(domain),
        this.#requireMachine(domain),
        this.#requireProcessor(domain),
      ]);
    } catch (thrown) {
      throw forPeer(thrown, "the destination's libvirt cannot be asked");
    }
  }

  /** Throws MigrateError "name-taken" if this host's libvirt has a domain of its name or UUID, or state of its TPM. */
  async requireFree({ name, uuid, tpm }: Domain): Promise<void> {
    if (tpm !== null && hasTpmState(uuid, tpm.version))
      throw refusal("name-taken", "the destination's libvirt has a virtual TPM of this UUID already");
    const [ofUuid, ofName] = await Promise.all([uuid, name].map((which) => findDomain(this.virsh, which)));
    const what = ofUuid != null ? "UUID" : ofName != null ? "name" : undefined;
    if (what !== undefined)
      throw refusal("name-taken", `the destination's libvirt has a domain of this ${what} already`);
  }

  async #requireMachine({ type, arch, machine, firmware }: Domain): Promise<void> {
    const words = ["domcapabilities", "--virttype", type, "--arch", arch, "--machine", machine];
    const { code } = await this.virsh.ask(words);
    if (code !== 0) {
      const what = type === "kvm" ? "with KVM" : "without KVM";
      throw refusal(
        "policy",
        `the destination has no QEMU that runs ${arch} machines of the type ${machine} ${what}`,
      );
    }
    if (firmware.loader !== null && !existsSync(firmware.loader))
      throw refusal("policy", "the destination does not have the firmware that the VM boots with");
  }

  async #requireProcessor({ cpu, type, arch, machine }: Domain): Promise<void> {
    // What the host's own processor is, no other host can say.
    if (cpu === null || cpu.attributes.get("mode") === "host-passthrough") return;
    const about = ["--virttype", type, "--arch", arch, "--machine", machine];
    const compare = ["hypervisor-cpu-compare", stdinFile, ...about, "--error"];
    const { code, out, errors } = await this.virsh.ask(compare, { input: writeXml(cpu) });
    if (code === 0) return;
    // A libvirt or a QEMU that cannot compare is no reason to refuse; starting the domain tells.
    if (!/incompatible/i.test(`${out} ${errors}`)) return;
    const missing = /missing features: ([\w., -]+)/i.exec(errors)?.[1];
    throw refusal(
      "processor",
      `the destination's processor is not enough for the VM${missing === undefined ? "" : `: it lacks ${missing}`}`,
    );
  }
}

/** What libvirt complains of holds paths of this host: a peer is told `what` in its place, this host's people the rest. */
export function forPeer(thrown: unknown, what: string): unknown {
  if (!(thrown instanceof LibvirtError)) return thrown;
  return new MigrateError("libvirt-failed", what, {
    side: "destination",
    hint: thrown.message,
    cause: thrown,
  });
}

const configSchema = v.strictObject({ uri: v.string(), netMap: v.string() });
const configName = "libvirt.json";

/** How `serve` reaches libvirt, for the processes that end what it began. */
export interface LibvirtConfig {
  host: LandingHost;
  netMap: NetMap;
}

/** Notes it in the home. Throws as node:fs does. */
export function keepConfig(home: string, config: { uri: string; netMap: string }): void {
  writeFileSync(join(home, configName), JSON.stringify(config), { mode: 0o600 });
}

/** Throws MigrateError "home-unusable" if no `serve` has noted it there. */
export function configOf(home: string): LibvirtConfig {
  try {
    const { uri, netMap } = v.parse(configSchema, JSON.parse(readFileSync(join(home, configName), "utf8")));
    return { host: new LandingHost(uri), netMap: readNetMap(netMap) };
  } catch (cause) {
    throw new MigrateError("home-unusable", "it is not known here how libvirt is reached", {
      side: "destination",
      hint: "Start migrate serve --libvirt once.",
      cause,
    });
  }
}
