/**
 * What the destination does with the requests that it hears and the actions of its machine, as
 * destination.ts and destination-session.ts do: the newest connection speaks, one request at a time, a
 * record is written over the record that was decided on.
 */
import type {
  DestinationAction,
  DestinationRecord,
  DestinationRequest,
} from "../../../src/migration/ownership/destination-machine.ts";
import type { Add, Rules } from "./ownership-moves.ts";
import { type Link, linkOf, type World } from "./ownership-world.ts";

const destinationEdges = [
  "none>receiving",
  "receiving>ready",
  "ready>receiving",
  "ready>owner",
  "ready>published",
  "owner>closed",
  "published>closed",
  "receiving>cancelled",
  "ready>cancelled",
];
/** Of a running VM whose QEMU is gone before it ever ran. */
const givenBack = ["ready>cancelled", "owner>cancelled"];

export function recordDestination(world: World, record: DestinationRecord): string | undefined {
  const edge = `${world.dstRecord}>${record}`;
  world.dstRecord = record;
  const allowed = world.guest === "gone" ? [...destinationEdges, ...givenBack] : destinationEdges;
  return allowed.includes(edge) ? undefined : `the destination's record went ${edge}`;
}

export function destinationMoves(world: World, rules: Rules, add: Add): void {
  const [action] = world.destinationTodo;
  if (action !== undefined) {
    add(`the destination does ${action}`, true, (next) => performDestination(next, rules, action));
    return;
  }
  for (const { id, up, cut } of world.links) {
    if (up.length === 0) continue;
    add(`the destination hears ${up[0]} on ${id}`, true, (next) => hear(next, rules, id));
    if (cut) add(`the rest of ${id} is lost`, true, (next) => (linkOf(next, id)!.up = []));
  }
}

export function shut(link: Link | undefined, ...last: string[]): void {
  if (link === undefined) return;
  if (!link.cut) link.down.push(...last);
  link.cut = true;
  link.shut = true;
}

function hear(world: World, rules: Rules, id: number): void {
  const link = linkOf(world, id)!;
  const message = link.up.shift()!;
  if (!link.bound) {
    const newest = world.dstRecord !== "none" ? world.dstAttempt : rules.remembersAttempts ? world.newest : 0;
    if (rules.newestOnly && id <= newest) {
      shut(link, "error");
      return;
    }
    world.newest = id;
    if (world.dstRecord !== "none") world.dstAttempt = id;
    for (const other of world.links) if (other.bound) shut(other);
    link.bound = true;
    world.grant = 0;
  }
  const request = message.replace(/\d$/, "") as DestinationRequest;
  world.began = world.dstRecord;
  world.current = id;
  world.destinationTodo = [...rules.destinationStep(world.dstRecord, world.mode, request).actions];
  // The content that a seal is about travels as its digest.
  if (request === "seal" && Number(message.at(-1)) !== world.dataContent && world.data !== "none") {
    world.destinationTodo = ["refuse"];
  }
}

function performDestination(world: World, rules: Rules, action: DestinationAction): string | undefined {
  const link = linkOf(world, world.current);
  const fail = () => {
    shut(link, "error");
    world.destinationTodo = [];
    world.current = 0;
    world.began = "none";
  };
  world.destinationTodo.shift();
  let broke: string | undefined;
  const lost = world.guest === "gone" || (rules.givesBackWhatRan && world.guest === "ran");
  if (world.runs && lost && (action === "record-owner" || action === "run-vm")) {
    if (action === "run-vm" && !world.published) {
      // It may have run before this process began: that is for a person to settle.
      world.doubt = world.guest === "gone";
      fail();
    } else {
      world.destinationTodo = [...rules.giveBack(world.dstRecord, world.mode).actions];
    }
    return undefined;
  }
  if (action.startsWith("record-")) {
    const record = action.slice("record-".length) as DestinationRecord;
    if (rules.comparesRecord && world.dstRecord !== world.began) {
      fail();
      return undefined;
    }
    if (world.dstRecord === "none") world.dstAttempt = world.current;
    if (record !== world.dstRecord) broke = recordDestination(world, record);
    world.began = record;
  } else if (action.startsWith("send-")) {
    if (action === "send-accept-receiving") world.grant = link && !link.shut ? world.current : 0;
    if (link && !link.cut) link.down.push(action.slice("send-".length));
  } else if (action === "reserve") {
    if (world.place === "none") world.place = "staging";
  } else if (action === "check-seal") {
    world.grant = 0;
    if (
      world.place === "none" ||
      world.guest === "gone" ||
      (world.data !== "whole" && world.data !== "durable")
    )
      fail();
    else {
      world.data = "durable";
      if (world.runs && world.guest === "none") world.guest = "waiting";
    }
  } else if (action === "publish-files") {
    if (world.place === "none") fail();
    else if (world.place === "staging") {
      world.place = "final";
      world.published = true;
    }
  } else if (action === "run-vm") {
    if (world.runs) world.guest = "ran";
  } else if (action === "remove-staging") {
    if (world.place === "staging" || world.guest === "gone") removeStaging(world);
  } else {
    fail();
  }
  if (world.destinationTodo.length === 0) {
    world.current = 0;
    world.began = "none";
  }
  return broke;
}

export function removeStaging(world: World): void {
  world.guest = "none";
  world.place = "none";
  world.data = "none";
}
