/**
 * How the source carries out its machine's actions, as source-steps.ts, source-attempt.ts and
 * apply-locally.ts do: one after the other, sending only while the link accepts messages. Everything but the
 * record and the files is forgotten with the link.
 */
import { destinationMayRun } from "../../../src/migration/ownership/owner.ts";
import { isEdge, type SourceRecord } from "../../../src/migration/ownership/records.ts";
import {
  type SourceAction,
  type SourceEvent,
  type SourceState,
  sourceStart,
} from "../../../src/migration/ownership/source-machine.ts";
import type { Add, Rules } from "./ownership-moves.ts";
import { linkOf, type World } from "./ownership-world.ts";

/** The source's program dies. */
export function die(world: World): void {
  if (world.goesOnAlone && !world.withdrawn && world.guest !== "ran") world.stopped = false;
  unlink(world);
}

export function unlink(world: World): void {
  const link = linkOf(world, world.link);
  if (link) {
    link.cut = true;
    link.down = [];
  }
  world.link = 0;
  world.phase = "begin";
  world.ended = false;
  world.sourceTodo = [];
  if (world.srcRecord !== "lost") world.machineRecord = world.srcRecord;
}

export function standsStill({ runs, srcRecord, srcSettled }: World): boolean {
  return runs && (srcRecord === "sending" || srcRecord === "cancelled") && !srcSettled;
}

function stateOfSource(world: World): SourceState {
  const { mode, machineRecord, phase } = world;
  return { mode, record: machineRecord, phase, standsStill: standsStill(world) };
}

/** Passes an event to the machine. If no link stands, the files are believed first (apply-locally.ts). */
export function stepSource(world: World, rules: Rules, event: SourceEvent): void {
  const { state, actions } = rules.sourceStep(stateOfSource(world), event);
  if (actions.some((action) => action.startsWith("refuse"))) {
    if (world.link !== 0) unlink(world);
    return;
  }
  world.phase = state.phase;
  world.machineRecord = state.record;
  world.ended = state.ended !== undefined && world.link !== 0;
  world.sourceTodo.push(...actions);
}

/** Passes an event to the machine that occurs while no link stands. */
export function applyLocally(world: World, rules: Rules, event: SourceEvent): string | undefined {
  const { refused, broke } = believeFiles(world, rules);
  if (!refused) stepSource(world, rules, event);
  return broke;
}

/** The files' marks are believed before the record (apply-locally.ts). */
function believeFiles(world: World, rules: Rules): { refused: boolean; broke?: string | undefined } {
  if (!rules.believesFiles || !world.mark || world.mode === "copy") return { refused: false };
  const { state, actions } = rules.sourceStep(stateOfSource(world), { type: "found-marked" });
  if (actions.includes("refuse")) return { refused: true };
  world.machineRecord = state.record;
  return {
    refused: false,
    broke: actions.includes("record-released") ? recordSource(world, "released") : undefined,
  };
}

/** In the journal the session is cancelled, but the files are marked as released. */
export function isRestoredToCancelled({ srcRecord, mark }: World): boolean {
  return srcRecord === "cancelled" && mark;
}

export function recordSource(world: World, to: SourceRecord): string | undefined {
  const { srcRecord: from, mode } = world;
  if (from === "lost") return "a lost record was written";
  const broke = isEdge({ side: "source", from, to }, mode)
    ? undefined
    : `the source's record went ${from}>${to}`;
  world.srcRecord = to;
  if (!world.srcSeen.includes(to)) world.srcSeen = [...world.srcSeen, to];
  return broke;
}

export function sourceMoves(world: World, rules: Rules, add: Add): void {
  if (world.srcRecord === "lost") return;
  const [action] = world.sourceTodo;
  if (action !== undefined) {
    add(`the source does ${action}`, true, (next) => performSource(next, rules, action));
    return;
  }
  if (world.link === 0) {
    if (rules.believesFiles && isRestoredToCancelled(world)) return;
    if (standsStill(world) && world.stopped && world.srcRecord === "cancelled") {
      // What `migrate send` does at its end, and the guard if `send` died.
      add("the source takes the VM back", true, (next) => applyLocally(next, rules, { type: "given-up" }));
      return;
    }
    // A doubt is reported and left to a person; to ask again would return the same answer.
    if (world.over || world.doubt) return;
    add("the source connects", true, (next) => {
      next.attempt++;
      const { broke } = believeFiles(next, rules);
      next.link = next.attempt;
      next.links.push({ id: next.attempt, up: [], down: [], cut: false, bound: false, shut: false });
      const start = sourceStart(next.srcRecord as SourceRecord, next.mode);
      next.phase = start.phase;
      next.machineRecord = start.record;
      stepSource(next, rules, { type: "linked" });
      return broke;
    });
    return;
  }
  if (world.ended) {
    add("the source ends", true, (next) => {
      next.over = true;
      unlink(next);
    });
    return;
  }
  const link = linkOf(world, world.link)!;
  if (link.down.length > 0) {
    add(`the source hears ${link.down[0]}`, true, (next) => {
      const message = linkOf(next, next.link)!.down.shift()!;
      if (message === "error") unlink(next);
      else stepSource(next, rules, eventOf(message));
    });
  }
  if (link.cut) {
    add("the source notices the cut", true, (next) => {
      stepSource(next, rules, { type: "link-lost" });
      if (next.sourceTodo.length === 0) unlink(next);
    });
  }
}

function eventOf(message: string): SourceEvent {
  if (message.startsWith("accept-")) {
    return { type: "accepted", state: message.slice("accept-".length) as "receiving" };
  }
  if (message === "cancelled") return { type: "destination-cancelled" };
  return { type: message as "ready" | "owned" | "published" | "closed" };
}

function performSource(world: World, rules: Rules, action: SourceAction): string | undefined {
  const link = linkOf(world, world.link);
  if (action === "transfer") {
    if (link!.cut || world.grant !== world.link || world.dstRecord !== "receiving") {
      unlink(world);
    } else if (world.guest === "gone") {
      // STARTED names another QEMU than before: what was sent to it is lost.
      unlink(world);
      applyLocally(world, rules, { type: "given-up" });
    } else if (world.data !== "part") {
      world.data = "part";
      world.stopped = world.runs;
    } else {
      world.data = "whole";
      world.dataContent = world.content;
      world.sourceTodo.shift();
      stepSource(world, rules, { type: "transferred" });
    }
    return undefined;
  }
  world.sourceTodo.shift();
  switch (action) {
    case "record-released":
      return recordSource(world, "released");
    case "record-confirmed":
      return recordSource(world, "confirmed");
    case "record-cancelled":
      return recordSource(world, "cancelled");
    case "record-told":
    case "tell-cancelled":
    case "report-two-owners":
      return undefined;
    case "record-settled":
      world.srcSettled = true;
      return undefined;
    case "withdraw-vm":
      if (world.runs && !world.stopped) {
        world.sourceTodo = [];
        stepSource(world, rules, { type: "still-here" });
      } else world.withdrawn = true;
      return undefined;
    case "mark-files":
      world.mark = true;
      return undefined;
    case "unmark-files":
      world.mark = false;
      return undefined;
    case "resume-vm":
      world.stopped = false;
      world.withdrawn = false;
      if (!world.runs || world.guest !== "ran") return undefined;
      return "the source resumed the VM, which has run at the destination";
    case "retire-files":
      if (world.mode === "copy") return undefined;
      world.files = false;
      return destinationMayRun(world.dstRecord, world.mode) || world.owned
        ? undefined
        : "files retired without an owner";
    case "ask-destination":
      return undefined;
    default: {
      const message = action.slice("send-".length);
      if (message === "release" && world.srcRecord === "released" && !world.withdrawn)
        return "released, and the VM was not withdrawn before";
      if (message === "release") world.releaseSigned = true;
      if (!link!.cut) link!.up.push(message === "seal" ? `seal${world.content}` : message);
      if (link!.up.length > 3) throw new Error("the world's wire is too short");
      return undefined;
    }
  }
}
