/**
 * Two hosts and the network between them, as small as they can be and still lose everything that real
 * ones can (ownership.test.ts explores them). What is durable survives a death, the rest does not.
 */
import {
  type DestinationAction,
  type DestinationRecord,
  destinationMayRun,
} from "../../../src/migration/ownership/destination-machine.ts";
import type { Mode, Phase } from "../../../src/migration/ownership/phases.ts";
import {
  type SourceAction,
  type SourceRecord,
  sourceMayRun,
} from "../../../src/migration/ownership/source-machine.ts";

export interface Link {
  /** The source's count of its connections; the newest has the highest. */
  id: number;
  up: string[];
  down: string[];
  /** Nothing is taken any more from who sends; what was taken may still arrive, or not. */
  cut: boolean;
  /** The destination has heard a request on it. */
  bound: boolean;
  /** The destination has closed it: what still comes is not looked at. */
  shut: boolean;
}

export interface World {
  mode: Mode;
  /** A running VM: its RAM is in a QEMU at the destination, which may die. */
  runs: boolean;
  faults: number;
  // The source. Durable: record, attempt, files, over. The VM's content changes when it runs here.
  srcRecord: SourceRecord;
  attempt: number;
  files: boolean;
  over: boolean;
  content: number;
  // The source, forgotten with its link.
  link: number;
  phase: Phase;
  machineRecord: SourceRecord;
  ended: boolean;
  sourceTodo: SourceAction[];
  // The destination. Durable: record, newest attempt on it, the data and where they are.
  dstRecord: DestinationRecord;
  dstAttempt: number;
  data: "none" | "part" | "whole" | "durable";
  dataContent: number;
  place: "none" | "staging" | "final";
  /** The destination's QEMU: stopped with all of the VM in it, dead before it ever ran, or it has run. */
  guest: "none" | "waiting" | "gone" | "ran";
  /** Nobody knows whether the VM ran there before its QEMU was gone: a person is told, and decides. */
  doubt: boolean;
  // The destination, forgotten in a crash.
  /** It was this very process that published the files, and so knows that the VM has not run before. */
  published: boolean;
  newest: number;
  grant: number;
  current: number;
  began: DestinationRecord;
  destinationTodo: DestinationAction[];
  links: Link[];
}

export function begin(mode: Mode, faults: number, runs = false): World {
  return {
    mode,
    runs,
    faults,
    srcRecord: "sending",
    attempt: 0,
    files: true,
    over: false,
    content: 0,
    link: 0,
    phase: "begin",
    machineRecord: "sending",
    ended: false,
    sourceTodo: [],
    dstRecord: "none",
    dstAttempt: 0,
    data: "none",
    dataContent: 0,
    place: "none",
    guest: "none",
    doubt: false,
    published: false,
    newest: 0,
    grant: 0,
    current: 0,
    began: "none",
    destinationTodo: [],
    links: [],
  };
}

export function copyOf(world: World): World {
  return {
    ...world,
    sourceTodo: [...world.sourceTodo],
    destinationTodo: [...world.destinationTodo],
    links: world.links.map((link) => ({ ...link, up: [...link.up], down: [...link.down] })),
  };
}

/** Equal for worlds that behave alike: only the order of attempts matters, not their number. */
export function keyOf(world: World): string {
  const { links, attempt, dstAttempt, newest, link, grant, current, ...rest } = world;
  const ids = [
    ...new Set([0, attempt, dstAttempt, newest, link, grant, current, ...links.map(({ id }) => id)]),
  ];
  ids.sort((a, b) => a - b);
  const rank = (id: number) => ids.indexOf(id);
  const numbers = [attempt, dstAttempt, newest, link, grant, current].map(rank).join(",");
  const wires = links.map(
    ({ id, up, down, cut, bound, shut }) => `${rank(id)}:${up}:${down}:${+cut}${+bound}${+shut}`,
  );
  return `${Object.values(rest).join("|")}#${numbers}#${wires.join(";")}`;
}

/** What holds in every world, by itself; the first thing that does not, in words. */
export function wrongIn(world: World): string | undefined {
  const { mode, runs, srcRecord, dstRecord, data, place, guest, files, content, dataContent } = world;
  const source = sourceMayRun(srcRecord, mode);
  const destination = destinationMayRun(dstRecord, mode);
  const holds =
    dstRecord === "ready" || dstRecord === "owner" || dstRecord === "published" || dstRecord === "closed";
  const whole = data === "durable" && place !== "none" && guest !== "gone";
  if (guest === "ran" && source) return "the VM has run at the destination, and the source may run it";
  if (guest === "ran" && !destination) return `the VM runs at the destination while that is ${dstRecord}`;
  if (runs && srcRecord === "confirmed" && guest !== "ran") return "the source let go of what runs nowhere";
  if (mode === "move" && source && destination) return "both hosts may run the VM";
  if (mode === "move" && !source && !destination && srcRecord !== "released") {
    return "nobody may run the VM, and the source is not between released and confirmed";
  }
  if (!files && !(whole && holds)) return "no host has a complete copy";
  // What died there is given back, or in doubt; the source still has it.
  if (guest === "gone") return undefined;
  if (holds && !whole) return `the destination is ${dstRecord} without a complete, durable copy`;
  if (mode === "move" && holds && dstRecord !== "ready" && dataContent !== content) {
    return "the destination took another content than the source let go of";
  }
  if (!files && (mode === "copy" || srcRecord !== "confirmed")) return "files are retired without a record";
  if (srcRecord === "released" && (dstRecord === "none" || dstRecord === "receiving")) {
    return `released while the destination is ${dstRecord}`;
  }
  if (place === "final" && !(holds && dstRecord !== "ready")) return `published while ${dstRecord}`;
  return undefined;
}

/** The two have come to an end that both know, and nothing lies about. */
export function isEnded(world: World): boolean {
  const { mode, srcRecord, dstRecord, place, files, over, doubt } = world;
  // The VM stands still at the source, whole, and both hosts say so.
  if (doubt) return srcRecord === "released" && files;
  if (!over) return false;
  if (srcRecord === "confirmed") {
    return dstRecord === "closed" && place === "final" && files === (mode === "copy");
  }
  // Where the destination died after making the folder and before recording it, an empty one is left.
  return (
    srcRecord === "cancelled" && (dstRecord === "none" || (dstRecord === "cancelled" && place === "none"))
  );
}

export function linkOf(world: World, id: number): Link | undefined {
  return world.links.find((link) => link.id === id);
}
