/**
 * What the source does with the actions of its machine, as source-attempt.ts and source.ts do: one
 * after the other, a message only while the link takes it, everything but the record forgotten with
 * the link.
 */
import { destinationMayRun } from "../../../src/migration/ownership/destination-machine.ts";
import {
  type SourceAction,
  type SourceEvent,
  type SourceRecord,
  sourceStart,
} from "../../../src/migration/ownership/source-machine.ts";
import type { Add, Rules } from "./ownership-moves.ts";
import { linkOf, type World } from "./ownership-world.ts";

const sourceEdges = ["sending>released", "sending>cancelled", "released>confirmed", "released>cancelled"];
const copyEdges = ["sending>confirmed", "cancelled>confirmed", "sending>cancelled"];

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
  world.machineRecord = world.srcRecord;
}

export function stepSource(world: World, rules: Rules, event: SourceEvent): void {
  const { mode, machineRecord, phase } = world;
  const { state, actions } = rules.sourceStep({ mode, record: machineRecord, phase }, event);
  if (actions.includes("refuse")) {
    unlink(world);
    return;
  }
  world.phase = state.phase;
  world.machineRecord = state.record;
  world.ended = state.ended !== undefined;
  world.sourceTodo.push(...actions);
}

export function recordSource(world: World, record: SourceRecord): string | undefined {
  const edge = `${world.srcRecord}>${record}`;
  const allowed = world.mode === "copy" ? copyEdges : sourceEdges;
  const broke = allowed.includes(edge) ? undefined : `the source's record went ${edge}`;
  world.srcRecord = record;
  return broke;
}

export function sourceMoves(world: World, rules: Rules, add: Add): void {
  if (world.link === 0) {
    // In doubt it is said and left to a person; asking again would give the same answer.
    if (world.over || world.doubt) return;
    add("the source connects", true, (next) => {
      next.attempt++;
      next.link = next.attempt;
      next.links.push({ id: next.attempt, up: [], down: [], cut: false, bound: false, shut: false });
      const start = sourceStart(next.srcRecord, next.mode);
      next.phase = start.phase;
      next.machineRecord = start.record;
      stepSource(next, rules, { type: "linked" });
    });
    return;
  }
  const [action] = world.sourceTodo;
  if (action !== undefined) {
    add(`the source does ${action}`, true, (next) => performSource(next, rules, action));
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
  const link = linkOf(world, world.link)!;
  if (action === "transfer") {
    if (link.cut || world.grant !== world.link || world.dstRecord !== "receiving") {
      unlink(world);
    } else if (world.guest === "gone") {
      // STARTED names another QEMU than before: what was sent to it is lost.
      world.sourceTodo.shift();
      stepSource(world, rules, { type: "cancel" });
    } else if (world.data !== "part") {
      world.data = "part";
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
    case "retire-files":
      if (world.mode === "copy") return undefined;
      world.files = false;
      return destinationMayRun(world.dstRecord, world.mode) ? undefined : "files retired without an owner";
    default: {
      const message = action.slice("send-".length);
      if (!link.cut) link.up.push(message === "seal" ? `seal${world.content}` : message);
      if (link.up.length > 3) throw new Error("the world's wire is too short");
      return undefined;
    }
  }
}
