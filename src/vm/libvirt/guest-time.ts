/**
 * The clock of a domain that stood still while it was moved: libvirt has the guest's agent set it, if there is one
 * (virsh(1), domtime).
 */
import { printable } from "../../protocol/printable.ts";
import type { Domain } from "./definition/domain.ts";
import type { Virsh } from "./virsh.ts";
import { attributeOf, childOf } from "./xml/xml-element.ts";

/** Libvirt itself waits 5 s for an agent that does not answer. */
const timeoutMs = 10_000;
/** Libvirt learns of an agent a moment after the domain goes on. */
const mostTries = 4;
const betweenTriesMs = 500;
const channelName = "org.qemu.guest_agent.0";
const mostShownChars = 120;

/** Whether the domain has a channel for an agent. Pure. */
export function hasAgentChannel({ tree }: Pick<Domain, "tree">): boolean {
  const devices = childOf(tree, "devices")?.children ?? [];
  return devices.some(
    (device) => device.name === "channel" && attributeOf(childOf(device, "target"), "name") === channelName,
  );
}

/** The same of a definition as libvirt writes it. Pure. */
export function namesAgentChannel(xml: string): boolean {
  return xml.includes(channelName);
}

/**
 * Sets the clock to this host's. Returns null if it was set, or no agent is there; otherwise a sentence for the person.
 * Never throws.
 */
export async function setDomainTime(virsh: Virsh, uuid: string): Promise<string | null> {
  for (let tries = 1; ; tries++) {
    const said = await virsh
      .ask(["domtime", "--domain", uuid, "--now"], { timeoutMs })
      .then(({ code, errors }) => (code === 0 ? null : errors))
      .catch(() => "it does not answer");
    if (said === null) return null;
    // None in the guest, or none any more.
    const isAbsent = /agent is not (?:connected|configured|available)|Domain not found/i.test(said);
    if (isAbsent && tries >= mostTries) return null;
    if (!isAbsent) {
      const why = printable(said.trim().split("\n").at(-1) ?? "", " ").replace(/^error:\s*/, "");
      return `the guest's clock was not set by its agent: ${why.slice(0, mostShownChars)}`;
    }
    await Bun.sleep(betweenTriesMs);
  }
}
