/**
 * Two hosts and the network between them, as a model that is as small as possible and can still lose
 * everything that real ones can (ownership.test.ts explores it). Only what is durable survives a crash; what
 * is durable in a journal can be restored from a backup, or be lost.
 */
import type {
  DestinationAction,
  DestinationState,
} from "../../../src/migration/ownership/destination-machine.ts";
import { destinationMayRun, sourceMayRun } from "../../../src/migration/ownership/owner.ts";
import type { Mode, Phase } from "../../../src/migration/ownership/phases.ts";
import type { DestinationRecord, SourceRecord } from "../../../src/migration/ownership/records.ts";
import type { SourceAction } from "../../../src/migration/ownership/source-machine.ts";
import { contradicts } from "../../../src/migration/ownership/witness.ts";

export interface Link {
  /** The source's count of its connections; the newest has the highest. */
  id: number;
  up: string[];
  down: string[];
  /** The sender can send no more; what was sent may still arrive, or not. */
  cut: boolean;
  /** The destination has received a request on it. */
  bound: boolean;
  /** The destination has closed it: what still arrives is ignored. */
  shut: boolean;
}

export interface World {
  mode: Mode;
  /** A running VM: its RAM is in a QEMU at the destination, which may die. */
  runs: boolean;
  faults: number;
  // The source. Durable: record, attempt, files and their mark, over. The VM's content changes when it runs here.
  srcRecord: SourceRecord | "lost";
  /** The records that a backup of its journal may hold. */
  srcSeen: readonly SourceRecord[];
  /** The journal is older than what the host did. */
  srcOlder: boolean;
  /** The files say that this session released them. */
  mark: boolean;
  /** A manager lets the VM go on here if this program dies before it withdraws it. */
  goesOnAlone: boolean;
  /** What could start the VM here without this program was taken away. */
  withdrawn: boolean;
  /** The program has stopped the VM here, and the journal records that it was settled. */
  stopped: boolean;
  srcSettled: boolean;
  attempt: number;
  files: boolean;
  over: boolean;
  content: number;
  /** Receipts that somebody may have copied: whatever comes, they can be shown at any time after they were signed. */
  releaseSigned: boolean;
  ownedSigned: boolean;
  // The source, forgotten with its link.
  link: number;
  phase: Phase;
  machineRecord: SourceRecord;
  ended: boolean;
  sourceTodo: SourceAction[];
  // The destination. Durable: record, newest attempt on it, the data and where they are.
  dstRecord: DestinationRecord;
  dstSeen: readonly DestinationRecord[];
  dstOlder: boolean;
  /** The destination has owned the VM, whatever its journal says now, and has not given it back. */
  owned: boolean;
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
  /** What `migrate resolve` does at the destination, a process of its own, and the record that it decided on. */
  resolveTodo: DestinationAction[];
  resolveOn: DestinationRecord;
  links: Link[];
}

export function begin(mode: Mode, faults: number, runs = false, goesOnAlone = false): World {
  return {
    mode,
    runs,
    goesOnAlone,
    faults,
    srcRecord: "sending",
    srcSeen: ["sending"],
    srcOlder: false,
    mark: false,
    withdrawn: false,
    stopped: false,
    srcSettled: false,
    attempt: 0,
    files: true,
    over: false,
    content: 0,
    releaseSigned: false,
    ownedSigned: false,
    link: 0,
    phase: "begin",
    machineRecord: "sending",
    ended: false,
    sourceTodo: [],
    dstRecord: "none",
    dstSeen: ["none"],
    dstOlder: false,
    owned: false,
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
    resolveTodo: [],
    resolveOn: "none",
    links: [],
  };
}

export function copyOf(world: World): World {
  return {
    ...world,
    sourceTodo: [...world.sourceTodo],
    destinationTodo: [...world.destinationTodo],
    resolveTodo: [...world.resolveTodo],
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

/** What the destination has of the session, as its machine is told. */
export function stateOf({ mode, runs, dstRecord, place, guest }: World): DestinationState {
  return {
    record: dstRecord,
    mode,
    witness: { published: place === "final", runs: guest === "ran" },
    program: !runs ? "files" : guest === "waiting" || guest === "ran" ? "there" : "gone",
  };
}

/** The witnesses at the destination disagree: a person has to look. */
export function isDoubted(world: World): boolean {
  const { record, witness } = stateOf(world);
  return contradicts(record, witness);
}

/** Whether the source's copy may be started: by its record, unless the files themselves say otherwise. */
export function mayRunAtSource({ mode, srcRecord, files, mark }: World): boolean {
  if (mode === "copy") return true;
  return srcRecord !== "lost" && sourceMayRun(srcRecord, mode) && files && !mark;
}

/** Checks what must hold in every world by itself; returns the first violation, as a sentence. */
export function wrongIn(world: World): string | undefined {
  const { mode, runs, srcRecord, dstRecord, data, place, guest, files, content, dataContent } = world;
  const source = mayRunAtSource(world);
  // A record that was restored may give it a VM of which nothing is there.
  const destination = destinationMayRun(dstRecord, mode) && (place !== "none" || !world.dstOlder);
  const holds =
    dstRecord === "ready" || dstRecord === "owner" || dstRecord === "published" || dstRecord === "closed";
  const whole = data === "durable" && place !== "none" && guest !== "gone";
  // What no journal, however old, may bring about.
  if (runs && guest === "ran" && !world.stopped && files) return "the VM runs at both hosts";
  if (guest === "ran" && source) return "the VM has run at the destination, and the source may run it";
  if (mode === "move" && source && destination) return "both hosts may run the VM";
  if (!files && !whole) return "no host has a complete copy";
  if (world.owned && guest !== "gone" && !whole) return "the destination removed what it owned";
  if (world.srcOlder || world.dstOlder) return undefined;
  // What holds as long as each journal is what its host did.
  if (guest === "ran" && !destination) return `the VM runs at the destination while that is ${dstRecord}`;
  if (runs && srcRecord === "confirmed" && guest !== "ran") return "the source let go of what runs nowhere";
  if (mode === "move" && !source && !destination && srcRecord !== "released") {
    return "nobody may run the VM, and the source is not between released and confirmed";
  }
  if (!files && !holds) return "no host has a complete copy";
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

/** Both hosts know that the session has ended, and nothing is left over. */
export function isEnded(world: World): boolean {
  const { mode, srcRecord, dstRecord, place, files, over, doubt, runs } = world;
  // A journal that is lost, or older than what its host did, may leave a doubt, which is said and left to a person.
  if (srcRecord === "lost" || isDoubted(world)) return true;
  if (
    (world.srcOlder || world.dstOlder) &&
    (srcRecord === "released" || (srcRecord === "cancelled" && world.mark))
  )
    return true;
  // The destination answers that it owns what this host, by its journal, has not released: in doubt.
  if ((world.srcOlder || world.dstOlder) && srcRecord === "sending" && destinationMayRun(dstRecord, mode))
    return true;
  // The VM stands still at the source, whole, and both hosts report so.
  if (doubt) return (srcRecord === "released" || world.srcOlder) && files;
  if (!over) return false;
  if (srcRecord === "confirmed") {
    if (world.srcOlder || world.dstOlder) return true;
    return dstRecord === "closed" && place === "final" && files === (mode === "copy");
  }
  if (runs && world.stopped) return false;
  if (world.dstOlder && srcRecord === "cancelled") return true;
  // If the destination died after making the folder and before recording it, an empty one is left.
  return (
    srcRecord === "cancelled" &&
    !world.mark &&
    (dstRecord === "none" || (dstRecord === "cancelled" && place === "none"))
  );
}

export function linkOf(world: World, id: number): Link | undefined {
  return world.links.find((link) => link.id === id);
}
