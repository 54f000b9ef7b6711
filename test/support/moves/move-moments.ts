/** The moments of a running VM's live move in which something is done to it, in their order, and the phase each lies in. */
import type { Phase } from "../../../src/migration/ownership/phases.ts";
import type { FrameName } from "../../../src/protocol/frames.ts";
import type { Direction } from "./cutting-proxy.ts";

/** One that is known by a frame that is about to pass, the `number`th of its kind. */
export interface AtFrame {
  phase: Phase;
  direction: Direction;
  frame: FrameName;
  number: number;
}

/** One that the source tells of, with what makes that phase long enough. */
export interface AtEvent {
  phase: Phase;
  event: "RAM under way" | "VM stopped";
  flags: string[];
}

export type Moment = AtFrame | AtEvent;

const to = (phase: Phase, frame: FrameName, number = 1): AtFrame => {
  return { phase, direction: "to-destination", frame, number };
};
const from = (phase: Phase, frame: FrameName): AtFrame => {
  return { phase, direction: "to-source", frame, number: 1 };
};

export const moments = {
  "the first HELLO": to("begin", "hello"),
  OFFER: to("prepare", "offer"),
  "START, which starts the destination's QEMU": to("prepare", "start"),
  "STARTED, with that QEMU there": from("prepare", "started"),
  // Each disk's server is greeted in five words of a few bytes.
  "the second word to a mirrored disk's server": to("pre-copy", "data", 2),
  "a piece of the mirrored disks": to("pre-copy", "data", 20),
  "the RAM's first pass": { phase: "pre-copy", event: "RAM under way", flags: ["--bandwidth", "16M"] },
  "the RAM's last pass, with the VM stopped": {
    phase: "stop-and-copy",
    event: "VM stopped",
    // QEMU stops the VM as soon as it expects to be done in a minute, which is at once.
    flags: ["--bandwidth", "16M", "--downtime-limit", "60s"],
  },
  SEAL: to("seal", "seal"),
  READY: from("seal", "ready"),
  RELEASE: to("handover", "release"),
  OWNED: from("handover", "owned"),
  CONFIRM: to("confirm", "confirm"),
  CLOSED: from("confirm", "closed"),
} satisfies Record<string, Moment>;

export type MomentName = keyof typeof moments;

/** From here on the VM is not the source's any more, whatever happens. */
export const firstReleased: MomentName = "RELEASE";

/** The names of all moments, and of those before and after the release. */
export const momentNames = Object.keys(moments) as MomentName[];
const released = momentNames.indexOf(firstReleased);
export const beforeRelease = momentNames.slice(0, released);
export const afterRelease = momentNames.slice(released);
