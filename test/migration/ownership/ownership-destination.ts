/**
 * How the destination handles requests and carries out its machine's actions, as destination.ts and
 * destination-session.ts do: only the newest connection is obeyed, one request at a time, and a record is
 * written only over the one on which the step was decided.
 */
import type {
  DestinationAction,
  DestinationEvent,
  DestinationRequest,
} from "../../../src/migration/ownership/destination-machine.ts";
import { destinationMayRun } from "../../../src/migration/ownership/owner.ts";
import { type DestinationRecord, isEdge } from "../../../src/migration/ownership/records.ts";
import type { Add, Rules } from "./ownership-moves.ts";
import { type Link, linkOf, stateOf, type World } from "./ownership-world.ts";

export function recordDestination(world: World, to: DestinationRecord): string | undefined {
  const { dstRecord: from, mode } = world;
  world.dstRecord = to;
  if (!world.dstSeen.includes(to)) world.dstSeen = [...world.dstSeen, to];
  if (to === "owner") world.owned = true;
  if (to === "cancelled") world.owned = false;
  // Only a running VM that never ran there is given back.
  const isGivenBack = from === "owner" && to === "cancelled";
  if (isGivenBack && (world.guest === "ran" || world.guest === "waiting"))
    return "the destination gave back what may have run";
  return isEdge({ side: "destination", from, to }, mode)
    ? undefined
    : `the destination's record went ${from}>${to}`;
}

/** The machine's answer to an event, for the destination to carry out. */
export function actionsAt(world: World, rules: Rules, event: DestinationEvent): DestinationAction[] {
  const state = stateOf(world);
  const witness = rules.looksAtFiles ? state.witness : { published: false, runs: false };
  return [...rules.destinationStep({ ...state, witness }, event).actions];
}

export function destinationMoves(world: World, rules: Rules, add: Add): void {
  const [decided] = world.resolveTodo;
  if (decided !== undefined) {
    add(`resolve at the destination does ${decided}`, true, (next) => performResolve(next, decided));
  }
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
  world.destinationTodo = actionsAt(world, rules, { type: "request", request });
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
  const isGone = world.guest === "gone" || world.guest === "none";
  const lost = isGone || (rules.givesBackWhatRan && world.guest === "ran");
  if (world.runs && lost && (action === "record-owner" || action === "run-vm")) {
    if (action === "run-vm" && !world.published) {
      // It may have run before this process began: that is for a person to settle.
      world.doubt = isGone && world.dstRecord === "owner";
      fail();
    } else {
      world.destinationTodo = actionsAt(world, rules, { type: "never-ran" });
    }
    return undefined;
  }
  // What is to be owned is looked at once more (received-vm.ts, checkReady).
  if ((action === "record-owner" || action === "record-published") && world.place !== "staging") {
    fail();
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
    // Missing files are created anew (received-files.ts, takeStock).
    if (action === "send-accept-receiving" && world.place === "none") world.place = "staging";
    if (action === "send-accept-receiving") world.grant = link && !link.shut ? world.current : 0;
    if (action === "send-owned") world.ownedSigned = true;
    if (link && !link.cut) link.down.push(action.slice("send-".length));
  } else if (action === "sign-owned") {
    world.ownedSigned = true;
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
  } else if (action === "end-vm") {
    broke = endVm(world);
  } else if (action === "remove-staging") {
    removeStaging(world);
  } else if (action.startsWith("report-")) {
    // Nothing changes by it.
  } else {
    fail();
  }
  if (world.destinationTodo.length === 0) {
    world.current = 0;
    world.began = "none";
  }
  return broke;
}

/**
 * What `migrate resolve` does, with only the store, the run folder and the journal
 * (decide-at-destination.ts).
 */
function performResolve(world: World, action: DestinationAction): string | undefined {
  world.resolveTodo.shift();
  const to = (record: DestinationRecord) => {
    if (world.dstRecord !== world.resolveOn) {
      world.resolveTodo = [];
      return undefined;
    }
    world.resolveOn = record;
    // The person has settled what no program could know.
    world.doubt = false;
    return recordDestination(world, record);
  };
  switch (action) {
    case "record-owner":
      if (world.place !== "none") return to("owner");
      world.resolveTodo = [];
      return undefined;
    case "record-cancelled":
      return to("cancelled");
    case "publish-files":
      if (world.place === "none") world.resolveTodo = [];
      else world.place = "final";
      return undefined;
    case "run-vm":
      if (world.guest === "waiting") world.guest = "ran";
      return undefined;
    case "end-vm":
      return endVm(world);
    case "remove-staging":
      // Only the hidden folder: what is published is never removed by a decision.
      if (world.place === "staging") removeStaging(world);
      return undefined;
    case "set-aside":
      removeStaging(world);
      return undefined;
    case "sign-owned":
      // Not reached where a running VM could not be resumed (decide-at-destination.ts), nor signed by another record.
      if (world.runs && world.guest !== "ran") return undefined;
      if (destinationMayRun(world.dstRecord, world.mode)) world.ownedSigned = true;
      return undefined;
    default:
      return undefined;
  }
}

function endVm(world: World): string | undefined {
  if (world.guest === "ran") return "the destination ended a VM that runs";
  if (world.guest === "waiting") world.guest = "none";
  return undefined;
}

export function removeStaging(world: World): void {
  if (world.guest === "gone") world.guest = "none";
  world.place = "none";
  world.data = "none";
}
