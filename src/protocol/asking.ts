/** ASK and ANSWER: what a destination would say to an offer that is not made (SPEC.md, Asking). Pure. */
import * as v from "valibot";
import { count, hex, text } from "./fields.ts";
import { limits } from "./limits.ts";
import { offer } from "./offer.ts";
import { qemuVersion } from "./processor.ts";

const bytes = count(Number.MAX_SAFE_INTEGER);
const sessionId = hex(32);

/** The offer that would be made, and what its source would do before it. */
export const ask = v.object({
  ...offer.entries,
  /** The session that would be resumed; absent if a new one would begin. */
  session: v.optional(sessionId),
  /** Sessions of this source that it would cancel first. */
  ends: v.optional(v.pipe(v.array(sessionId), v.maxLength(limits.endedSessions))),
});
export type Ask = v.InferOutput<typeof ask>;

/** What is behind each network card of a VM that runs, or of a domain. */
export const cards = v.pipe(v.array(v.picklist(["none", "user", "bridge"])), v.maxLength(limits.modelParts));

/** What shows the screen of a VM that runs. */
export const vnc = v.picklist(["none", "unix", "127.0.0.1"]);

/** Longest text of `cpu`, in bytes. */
export const cpuTextBytes = 2048;

export const answer = v.object({
  /** All that is against the offer, in the order in which it was found: ERROR would say the first. */
  refused: v.pipe(
    v.array(v.object({ code: text(32), message: text(limits.errorTextBytes) })),
    v.maxLength(limits.refusals),
  ),
  /** Room in the store. `promisedBytes` of what is free are for sessions that are under way. */
  room: v.object({ neededBytes: bytes, freeBytes: bytes, promisedBytes: bytes }),
  /** Bytes of the session that are there already. */
  heldBytes: v.optional(bytes),
  /** True if its store is searched for what the VM consists of. */
  index: v.optional(v.boolean()),
  /** Bytes of the files of the store that the VM would be compared with; absent if there are none. */
  baseBytes: v.optional(bytes),
  /** Of a VM that runs there from the start: its memory, and what is free. */
  memory: v.optional(v.object({ neededBytes: bytes, freeBytes: bytes })),
  processors: v.optional(v.object({ needed: count(0xffff), there: count(0xffff) })),
  machine: v.optional(text(64)),
  accelerator: v.optional(v.picklist(["kvm", "tcg"])),
  /** The version of QEMU that would run it. */
  qemu: v.optional(qemuVersion),
  /** The processor that it would be started with, as QEMU or libvirt names it. */
  cpu: v.optional(text(cpuTextBytes)),
  /** "qemu": QEMU's own. "vm": it comes with the VM. "host": a package of the destination's. */
  firmware: v.optional(v.picklist(["qemu", "vm", "host"])),
  /** True if it has a virtual TPM, and there is an swtpm for it. */
  tpm: v.optional(v.boolean()),
  cards: v.optional(cards),
  vnc: v.optional(vnc),
  /** True if its processor was compared. */
  processor: v.optional(v.boolean()),
});
export type Answer = v.InferOutput<typeof answer>;

/** What an answer tells of how a VM would run there. */
export type Surroundings = Pick<
  Answer,
  | "memory"
  | "processors"
  | "machine"
  | "accelerator"
  | "qemu"
  | "cpu"
  | "firmware"
  | "tpm"
  | "cards"
  | "vnc"
  | "processor"
>;
