/** The moments of a libvirt domain's move in which something is done to it, in their order. */
import type { AtFrame, DomainMoment } from "./disturbed-domain.ts";

/** Streams of a domain that moves while it runs: its RAM, what the two libvirtd say, and disks from here on. */
const streams = { ram: 0, libvirt: 1, disk: 16 };

const to = (frame: AtFrame["frame"], more: Partial<AtFrame> = {}): AtFrame => ({
  direction: "to-destination",
  frame,
  ...more,
});
const from = (frame: AtFrame["frame"]): AtFrame => ({ direction: "to-source", frame });

export const liveMoments = {
  OFFER: to("offer"),
  START: to("start"),
  // Five words that open the connection, and then PREPARE.
  "libvirt's PREPARE": to("data", { stream: streams.libvirt, number: 6 }),
  "a piece of the mirrored disks": to("data", { stream: streams.disk + 1, number: 12 }),
  "the RAM's first pass": to("data", { stream: streams.ram, number: 6 }),
  "the end of the RAM, with the domain stopped": to("dataEnd", { stream: streams.ram }),
  "SEAL, with FINISH held": to("seal"),
  "READY, with FINISH held": from("ready"),
  "the time between released and withdrawn": { of: "send", write: "after released" },
  withdrawn: { of: "send", write: "after withdrawn" },
  RELEASE: to("release"),
  "the time between owner and published": { of: "serve", write: "after owner" },
  OWNED: from("owned"),
  CONFIRM: to("confirm"),
} satisfies Record<string, DomainMoment>;

export type LiveMoment = keyof typeof liveMoments;

export const stopMoments = {
  "its saving": { appears: { saved: "/var/lib/libvirt/qemu/save/web1.save" } },
  "OFFER, with the domain saved": to("offer"),
  "a chunk, with the domain saved": to("chunk", { number: 6 }),
  "SEAL, with the domain saved": to("seal"),
  "the time between released and withdrawn": { of: "send", write: "after released" },
  RELEASE: to("release"),
  "the time between owner and published": { of: "serve", write: "after owner" },
  "its restoring": { appears: { stored: "web1/memory.restoring" } },
  OWNED: from("owned"),
  CONFIRM: to("confirm"),
} satisfies Record<string, DomainMoment>;

export type StopMoment = keyof typeof stopMoments;
