/** What goes wrong, and what a person does, at any time and in any order. */
import { destinationMayRun } from "../../../src/migration/ownership/destination-machine.ts";
import { recordDestination, removeStaging, shut } from "./ownership-destination.ts";
import type { Add, Rules } from "./ownership-moves.ts";
import { recordSource, stepSource, unlink } from "./ownership-source.ts";
import { linkOf, type World } from "./ownership-world.ts";

export function troubles(world: World, rules: Rules, add: Add): void {
  for (const { id, cut } of world.links) {
    if (!cut) add(`link ${id} is cut`, false, (next) => (linkOf(next, id)!.cut = true));
  }
  if (world.link !== 0) add("the source dies", false, unlink);
  add("the destination dies", false, (next) => {
    for (const link of next.links) shut(link);
    next.published = false;
    next.newest = 0;
    next.grant = 0;
    next.current = 0;
    next.began = "none";
    next.destinationTodo = [];
    // What was not brought to the disk may be gone.
    if (next.data === "whole") next.data = "part";
  });
  if (world.guest === "waiting") {
    add("the QEMU that waits at the destination dies", false, (next) => {
      next.guest = "gone";
    });
  }
  if (world.link === 0 && world.srcRecord === "sending" && !world.over && world.content === 0) {
    add("the VM runs on the source for a while", false, (next) => (next.content = 1));
  }
  persons(world, rules, add);
}

/** What a person may do: give up at any time, and settle a doubt once they have looked at both hosts. */
function persons(world: World, rules: Rules, add: Add): void {
  const { srcRecord, dstRecord, mode } = world;
  if (
    world.link !== 0 &&
    !world.ended &&
    (world.sourceTodo.length === 0 || world.sourceTodo[0] === "transfer")
  ) {
    add("the person cancels the send", false, (next) => {
      const todo = next.sourceTodo;
      next.sourceTodo = [];
      stepSource(next, rules, { type: "cancel" });
      if (next.link !== 0 && next.sourceTodo.length === 0) next.sourceTodo = todo;
    });
  }
  if (world.link === 0 && srcRecord === "sending" && !world.over) {
    add("the person cancels at the source", false, (next) => recordSource(next, "cancelled"));
  }
  if (dstRecord === "receiving" || (dstRecord === "ready" && mode === "copy")) {
    add("the person cancels at the destination", false, (next) => {
      removeStaging(next);
      return recordDestination(next, "cancelled");
    });
    add("the person cancels at the destination and it dies before the files are gone", false, (next) =>
      recordDestination(next, "cancelled"),
    );
  }
  if (mode === "copy") return;
  if (dstRecord === "ready" && (srcRecord === "sending" || srcRecord === "released")) {
    add("the person gives the VM to the source, at the destination", false, (next) => {
      removeStaging(next);
      return recordDestination(next, "cancelled");
    });
  }
  // The word for a running VM lets it run, and is not taken where its QEMU is gone.
  if (dstRecord === "ready" && srcRecord === "released" && world.guest !== "gone") {
    add("the person gives the VM to the destination, there", false, (next) => {
      next.place = "final";
      if (next.runs) next.guest = "ran";
      return recordDestination(next, "owner");
    });
  }
  if (world.link === 0 && srcRecord === "released" && dstRecord === "cancelled") {
    add("the person gives the VM to the source, there", false, (next) => recordSource(next, "cancelled"));
  }
  const isThere = destinationMayRun(dstRecord, mode) && (!world.runs || world.guest === "ran");
  if (world.link === 0 && srcRecord === "released" && isThere) {
    add("the person gives the VM to the destination, at the source", false, (next) =>
      recordSource(next, "confirmed"),
    );
  }
}
