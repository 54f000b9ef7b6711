/** Failures, and the actions of a person, at any time and in any order. */
import { destinationMayRun } from "../../../src/migration/ownership/owner.ts";
import type { DestinationRecord } from "../../../src/migration/ownership/records.ts";
import type { Decision } from "../../../src/migration/ownership/source-machine.ts";
import { actionsAt, shut } from "./ownership-destination.ts";
import type { Add, Rules } from "./ownership-moves.ts";
import { applyLocally, die, unlink } from "./ownership-source.ts";
import { isDoubted, linkOf, mayRunAtSource, type World } from "./ownership-world.ts";

export function troubles(world: World, rules: Rules, add: Add): void {
  for (const { id, cut } of world.links) {
    if (!cut) add(`link ${id} is cut`, false, (next) => (linkOf(next, id)!.cut = true));
  }
  if (world.link !== 0 || world.sourceTodo.length > 0) add("the source dies", false, die);
  add("the destination dies", false, (next) => restart(next, rules));
  if (world.guest === "waiting") {
    add("the QEMU that waits at the destination dies", false, (next) => {
      next.guest = "gone";
    });
  }
  if (
    world.link === 0 &&
    world.srcRecord === "sending" &&
    !world.over &&
    world.content === 0 &&
    !world.runs
  ) {
    if (mayRunAtSource(world)) {
      add("the VM runs on the source for a while", false, (next) => (next.content = 1));
    }
  }
  const isUnderWay = world.srcRecord === "sending" || world.srcRecord === "released";
  if (world.link === 0 && world.runs && isUnderWay && world.sourceTodo.length === 0) {
    add("the source gives the move up", false, (next) => applyLocally(next, rules, { type: "given-up" }));
  }
  if (world.runs && world.dstRecord === "receiving" && world.destinationTodo.length === 0) {
    add("the destination gives the session up", false, (next) => {
      next.began = next.dstRecord;
      next.destinationTodo = actionsAt(next, rules, { type: "given-up" });
    });
  }
  if (rules.restoresJournals) journals(world, rules, add);
  persons(world, rules, add);
}

/** The destination's process dies, and another one begins with what is durable. */
function restart(world: World, rules: Rules): void {
  for (const link of world.links) shut(link);
  world.published = false;
  world.newest = 0;
  world.grant = 0;
  world.current = 0;
  // What was not synced to disk may be lost.
  if (world.data === "whole") world.data = "part";
  world.began = world.dstRecord;
  world.destinationTodo = actionsAt(world, rules, { type: "restarted" });
}

/**
 * A home is restored from a backup, or lost, while none of its programs runs. A second restoration uses an
 * older backup than the first: a journal newer than the one it replaces would contain what was undone.
 */
function journals(world: World, rules: Rules, add: Add): void {
  const source = (record: World["srcRecord"]) => (next: World) => {
    unlink(next);
    next.srcRecord = record;
    next.srcOlder = true;
    next.over = false;
    // In an older backup the VM is not settled.
    next.srcSettled = false;
    if (record !== "lost") next.srcSeen = world.srcSeen.slice(0, world.srcSeen.indexOf(record) + 1);
    if (record !== "lost") next.machineRecord = record;
  };
  for (const record of world.srcSeen) {
    if (record === world.srcRecord) continue;
    add(`the source's journal is restored to ${record}`, false, source(record));
  }
  if (world.srcRecord !== "lost") add("the source's journal is lost", false, source("lost"));
  // A program is stopped before its journal is restored, and completes what it has begun.
  if (world.destinationTodo.length > 0 || world.resolveTodo.length > 0) return;
  for (const record of world.dstSeen) {
    if (record === world.dstRecord) continue;
    add(`the destination's journal is restored to ${record}`, false, (next) => {
      next.dstRecord = record;
      next.dstOlder = true;
      next.dstSeen = world.dstSeen.slice(0, world.dstSeen.indexOf(record) + 1);
      next.resolveTodo = [];
      restart(next, rules);
    });
  }
}

/**
 * Somebody shows a receipt, or a program finds it in its journal: at any time after it was signed, and whatever has been
 * settled since. Nobody has to have looked at anything.
 */
function receipts(world: World, rules: Rules, add: Add, isIdle: boolean): void {
  if (world.ownedSigned && isIdle && world.srcRecord !== "lost") {
    add("OWNED is shown at the source", false, (next) => applyLocally(next, rules, { type: "owned-shown" }));
  }
  if (world.releaseSigned && world.resolveTodo.length === 0 && world.dstRecord !== "none") {
    add("RELEASE is shown at the destination", false, (next) => {
      next.resolveOn = next.dstRecord;
      const actions = actionsAt(next, rules, { type: "release-shown" });
      next.resolveTodo = actions.filter((action) => !action.startsWith("refuse"));
    });
  }
}

/** What a person may decide after looking at both hosts, by the machines' rules. */
function persons(world: World, rules: Rules, add: Add): void {
  const { srcRecord, mode } = world;
  const isIdle = world.link === 0 && world.sourceTodo.length === 0;
  const atSource = (decision: Decision) =>
    add(`a person decides ${decision} at the source`, false, (next) =>
      applyLocally(next, rules, { type: "decided", decision }),
    );
  const atDestination = (decision: Decision, proven = false) =>
    add(
      `a person decides ${decision} at the destination${proven ? ", with the code" : ""}`,
      false,
      (next) => {
        next.resolveOn = next.dstRecord;
        next.resolveTodo = actionsAt(next, rules, { type: "decided", decision, proven }).filter(
          (action) => !action.startsWith("refuse"),
        );
      },
    );
  if (isIdle && srcRecord !== "lost" && !world.over) atSource("cancel");
  if (world.resolveTodo.length === 0 && world.dstRecord !== "none") atDestination("cancel");
  if (mode === "copy") return;
  receipts(world, rules, add, isIdle);
  // For the rest, the person is believed about the other host, at which they have looked.
  const isOwnedThere = destinationMayRun(world.dstRecord, mode) || isDoubted(world);
  const mayBeOwnedThere = isOwnedThere || world.dstRecord === "ready";
  if (isIdle && srcRecord === "released" && !mayBeOwnedThere) atSource("source");
  if (isIdle && srcRecord === "released" && isOwnedThere && (!world.runs || world.guest === "ran")) {
    atSource("destination");
  }
  if (world.resolveTodo.length > 0) return;
  const isReleased = srcRecord === "released" && world.mark;
  if (!world.owned && (srcRecord === "sending" || isReleased) && !isDoubted(world)) {
    if (world.dstRecord === "receiving" || world.dstRecord === "ready") atDestination("source");
  }
  if (world.dstRecord === "ready" && world.guest !== "gone") {
    // Without the code nobody needs to be believed: whatever the source is at, nothing must come of it.
    atDestination("destination");
    if (isReleased) atDestination("destination", true);
  }
  const isWhole: readonly DestinationRecord[] = ["receiving", "ready"];
  if (isDoubted(world) && isWhole.includes(world.dstRecord)) atDestination("destination");
}
