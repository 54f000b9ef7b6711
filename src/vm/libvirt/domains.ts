/** What libvirt says of the domains of this host: which there are, in what state, and what belongs to each. */
import { MigrateError } from "../../protocol/errors.ts";
import type { Virsh } from "./virsh.ts";

/** `virsh domstate`, as far as it matters here. */
export type DomainState = "running" | "paused" | "off" | "crashed" | "other";

export interface DomainInfo {
  name: string;
  uuid: string;
  state: DomainState;
  /** libvirt's reason for the state, such as "saved", "migrated", "booted". */
  reason: string;
  /** It has a definition that outlives it. */
  isPersistent: boolean;
  autostart: boolean;
  /** Its memory is saved, and it goes on from there when it is started. */
  isSaved: boolean;
}

const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** How often a domain that changes while it is asked about is asked about again. */
const mostReadings = 10;

/** What libvirt knows of a domain, by name or UUID; null if there is none. Throws MigrateError as `Virsh.run`. */
export async function findDomain(virsh: Virsh, which: string): Promise<DomainInfo | null> {
  let info: DomainInfo | null = null;
  for (let reading = 0; reading < mostReadings; reading++) {
    // Each question is a process: they are asked at once, and of one moment if both tell of the same state.
    const [text, stated] = await Promise.all([
      virsh.find(["dominfo", "--domain", which]),
      virsh.find(["domstate", "--domain", which, "--reason"]),
    ]);
    if (text === null || stated === null) return null;
    const read = readInfo(text, stated, virsh);
    info = read.info;
    if (read.isOfOneMoment) break;
  }
  return info;
}

function readInfo(text: string, stated: string, virsh: Virsh): { info: DomainInfo; isOfOneMoment: boolean } {
  const said = new Map(
    text.split("\n").flatMap((line): [string, string][] => {
      const found = /^([A-Z][\w() ]*):\s*(.*)$/.exec(line.trim());
      return found === null ? [] : [[found[1]!, found[2]!.trim()]];
    }),
  );
  const [name, uuid] = [said.get("Name"), said.get("UUID")];
  if (name === undefined || uuid === undefined || !uuidForm.test(uuid)) {
    throw new MigrateError("libvirt-failed", "libvirt describes a domain in words that are not known here", {
      side: virsh.side,
    });
  }
  const [, state = "", reason = ""] = /^\s*([a-z ]+?)\s*(?:\(([^)]*)\))?\s*$/.exec(stated) ?? [];
  const info = {
    name,
    uuid,
    state: stateOf(state),
    reason,
    isPersistent: said.get("Persistent") === "yes",
    autostart: said.get("Autostart") === "enable",
    isSaved: said.get("Managed save") === "yes",
  };
  return { info, isOfOneMoment: said.get("State") === state };
}

function stateOf(word: string): DomainState {
  switch (word) {
    case "running":
    case "idle":
    case "no state":
      return "running";
    case "paused":
      return "paused";
    case "shut off":
      return "off";
    case "crashed":
      return "crashed";
    default:
      return "other";
  }
}

/** The domain, which has to be there. Throws MigrateError "vm-invalid". */
export async function requireDomain(virsh: Virsh, which: string): Promise<DomainInfo> {
  const found = await findDomain(virsh, which);
  if (found !== null) return found;
  throw new MigrateError("vm-invalid", "libvirt knows no such domain", {
    side: virsh.side,
    hint: "see migrate ls, or virsh list --all",
  });
}

/** The UUIDs of all domains. Throws MigrateError as `Virsh.run`. */
export async function allDomains(virsh: Virsh): Promise<string[]> {
  const text = await virsh.run(["list", "--all", "--uuid"]);
  return text
    .split("\n")
    .filter((line) => uuidForm.test(line.trim()))
    .map((line) => line.trim());
}

/** The domain's XML: of what runs now, or of what its definition says. Throws MigrateError as `Virsh.run`. */
export function domainXml(virsh: Virsh, uuid: string, which: "live" | "defined"): Promise<string> {
  return virsh.run(["dumpxml", "--domain", uuid, ...(which === "live" ? [] : ["--inactive"])]);
}

/** Whether libvirt saves, moves, dumps or copies it just now. Throws as `Virsh.ask`. */
export async function hasJob(virsh: Virsh, uuid: string): Promise<boolean> {
  // Of a domain that does not run, some have nothing to say.
  const { code, out } = await virsh.ask(["domjobinfo", "--domain", uuid]);
  return code === 0 && /^Job type:\s+(?!None)\S/m.test(out);
}

/** The names of its snapshots and of its checkpoints, which are libvirt's own. Throws MigrateError as `Virsh.run`. */
export async function keptStates(virsh: Virsh, uuid: string) {
  const names = async (command: string) =>
    (await virsh.run([command, "--domain", uuid, "--name"])).split("\n").filter((line) => line !== "");
  const [snapshots, checkpoints] = await Promise.all([names("snapshot-list"), names("checkpoint-list")]);
  return { snapshots, checkpoints };
}
