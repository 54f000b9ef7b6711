/**
 * Every world that source and destination can reach (ownership-world.ts), with every possible failure: links
 * cut, either side dying between any two actions, late messages of old connections, a person who changes
 * their mind. In none may there be two owners, no copy of the VM, or a session that cannot end.
 */
import { describe, expect, test } from "bun:test";
import {
  type DestinationAction,
  destinationStep,
} from "../../../src/migration/ownership/destination-machine.ts";
import type { Mode } from "../../../src/migration/ownership/phases.ts";
import { type SourceAction, sourceStep } from "../../../src/migration/ownership/source-machine.ts";
import { explore } from "./ownership-explore.ts";
import { program, type Rules } from "./ownership-moves.ts";

/** How many failures and actions of a person one history may have. */
const faults = 4;
/** The same if journals may be restored and lost as well: that multiplies the worlds. */
const faultsWithJournals = 3;
/** A program that is broken on purpose fails with fewer. */
const faultsOfBroken = 3;

for (const [what, mode, runs, goesOnAlone] of [
  ["move", "move", false, false],
  ["copy", "copy", false, false],
  ["move of a running VM", "move", true, false],
  ["move of a VM that a manager lets go on", "move", true, true],
] as const) {
  // [DOM-5] [OWN-1] [OWN-2] [OWN-3] [OWN-4] [OWN-5] [OWN-6] [HELLO-3] [VM-4] [RCPT-5] [RCPT-7]
  test(`a ${what} has one owner at most and one copy at least in every world, and ends from each`, () => {
    const startMs = performance.now();
    const { worlds, moves, wrong } = explore(mode, program, faults, runs, goesOnAlone);
    console.log(
      `${what}: ${worlds} worlds, ${moves} moves, ${faults} faults, ${Math.round(performance.now() - startMs)} ms`,
    );
    expect(wrong).toBeUndefined();
    // A world that is too small proves nothing.
    expect(worlds).toBeGreaterThan(50_000);
  }, 60_000);
}

for (const [what, mode, runs, goesOnAlone] of [
  ["move", "move", false, false],
  ["copy", "copy", false, false],
  ["move of a running VM", "move", true, false],
  ["move of a VM that a manager lets go on", "move", true, true],
] as const) {
  // [OWN-1] [OWN-8] [OWN-9]
  test(`a ${what} keeps its one owner and what that has, whatever journals are restored or lost`, () => {
    const startMs = performance.now();
    const rules = { ...program, restoresJournals: true };
    const { worlds, moves, wrong } = explore(mode, rules, faultsWithJournals, runs, goesOnAlone);
    console.log(
      `${what} with journals: ${worlds} worlds, ${moves} moves, ${faultsWithJournals} faults, ${Math.round(performance.now() - startMs)} ms`,
    );
    expect(wrong).toBeUndefined();
    expect(worlds).toBeGreaterThan(10_000);
  }, 60_000);
}

/** The program with one deliberate fault. */
const source = (
  change: (step: ReturnType<typeof sourceStep>, ...asked: Parameters<typeof sourceStep>) => void,
): Rules => ({
  ...program,
  sourceStep: (...asked) => {
    const { state, actions } = sourceStep(...asked);
    const step = { state: { ...state }, actions: [...actions] };
    change(step, ...asked);
    return step;
  },
});
const destination = (
  change: (step: ReturnType<typeof destinationStep>, ...asked: Parameters<typeof destinationStep>) => void,
): Rules => ({
  ...program,
  destinationStep: (...asked) => {
    const { record, actions } = destinationStep(...asked);
    const step = { record, actions: [...actions] };
    change(step, ...asked);
    return step;
  },
});

function swap<T>(actions: T[], first: T, second: T): void {
  const [one, two] = [actions.indexOf(first), actions.indexOf(second)];
  if (one < 0 || two < 0) return;
  actions[one] = second;
  actions[two] = first;
}

function drop<T>(actions: T[], action: T): void {
  const at = actions.indexOf(action);
  if (at >= 0) actions.splice(at, 1);
}

describe("the exploration finds what is wrong with a program in which", () => {
  const broken: [what: string, shows: string, rules: Rules, mode?: Mode, runs?: boolean, alone?: boolean][] =
    [
      [
        "a running VM goes on before it is owned",
        "the VM runs at the destination while that is ready",
        destination(({ actions }) => swap<DestinationAction>(actions, "record-owner", "run-vm")),
        "move",
        true,
      ],
      [
        "OWNED is said of a running VM that does not run",
        "the source let go of what runs nowhere",
        destination(({ actions }) => drop<DestinationAction>(actions, "run-vm")),
        "move",
        true,
      ],
      [
        "OWNED is signed before a running VM runs",
        "the source let go of what runs nowhere",
        destination(({ actions }) => {
          const at = actions.indexOf("record-owner");
          if (at >= 0) actions.splice(at + 1, 0, "sign-owned");
        }),
        "move",
        true,
      ],
      [
        "a RELEASE that is shown late makes the owner of what was given back",
        "cancelled>owner",
        destination((step, { record }, { type }) => {
          if (type === "release-shown" && record === "cancelled") step.actions = ["record-owner"];
        }),
        "move",
        true,
      ],
      [
        "an OWNED that is shown is believed by a source that has not released the VM",
        "sending>confirmed",
        {
          ...source((step, { record }, { type }) => {
            if (type === "owned-shown" && record === "sending") step.actions = ["record-confirmed"];
          }),
          restoresJournals: true,
          believesFiles: false,
        },
      ],
      [
        "a running VM is given back although it has run",
        "the destination gave back what may have run",
        { ...program, givesBackWhatRan: true },
        "move",
        true,
      ],
      [
        "a running VM is given back without a record",
        "without a complete, durable copy",
        destination(
          ({ actions }, _, { type }) =>
            type === "never-ran" && drop<DestinationAction>(actions, "record-cancelled"),
        ),
        "move",
        true,
      ],
      [
        "the source says RELEASE before it is recorded",
        "nobody may run the VM, and the source is not between",
        source(({ actions }) => swap<SourceAction>(actions, "record-released", "send-release")),
      ],
      [
        "the source never records the release",
        "nobody may run the VM, and the source is not between",
        source(({ actions }) => drop<SourceAction>(actions, "record-released")),
      ],
      [
        "the source retires its files before OWNED is recorded",
        "files are retired without a record",
        source(({ actions }) => swap<SourceAction>(actions, "record-confirmed", "retire-files")),
      ],
      [
        "the source retires its files once it has released the VM",
        "files retired without an owner",
        source(({ actions }) => {
          if (actions.includes("send-release")) actions.push("retire-files");
        }),
      ],
      [
        "a lost link takes a released VM back",
        "both hosts may run the VM",
        source((step, state, event) => {
          if (event.type !== "link-lost" || state.record !== "released") return;
          step.actions.push("unmark-files", "record-cancelled");
        }),
      ],
      [
        "a person may cancel what is released",
        "both hosts may run the VM",
        source((step, state, event) => {
          if (event.type !== "decided" || event.decision !== "cancel" || state.record !== "released") return;
          step.state = { ...state, record: "cancelled" };
          step.actions = ["unmark-files", "record-cancelled"];
        }),
      ],
      [
        "a move that is given up takes back what was released",
        "both hosts may run the VM",
        source((step, state, event) => {
          if (event.type !== "given-up" || state.record !== "released") return;
          step.state = { ...state, record: "cancelled" };
          step.actions = ["unmark-files", "record-cancelled", "resume-vm"];
        }),
        "move",
        true,
      ],
      [
        "a running VM that is given up stands still for ever",
        "never ends",
        source(({ actions }, _, { type }) => {
          if (type === "given-up") drop<SourceAction>(actions, "resume-vm");
        }),
        "move",
        true,
      ],
      [
        "the source begins again with OFFER after a release",
        "released while the destination is receiving",
        source((step, state, event) => {
          if (event.type === "linked" && state.record === "released") {
            step.state = { ...state, phase: "prepare" };
            step.actions = ["send-offer"];
          }
        }),
      ],
      [
        "the source does not seal",
        "released while the destination is receiving",
        source((step, state, event) => {
          if (event.type !== "transferred" || state.record !== "sending") return;
          step.state = { ...state, phase: "handover", record: "released" };
          step.actions = ["record-released", "send-release"];
        }),
      ],
      [
        "a copy that came too late to be cancelled is refused",
        "never ends",
        source((step, state, event) => {
          if (event.type === "published" && state.record === "cancelled") {
            step.state = state;
            step.actions = ["refuse"];
          }
        }),
        "copy",
      ],
      [
        "the destination says READY before it is recorded",
        "released while the destination is receiving",
        destination(({ actions }) => swap<DestinationAction>(actions, "record-ready", "send-ready")),
      ],
      [
        "the destination never brings the bytes to the disk",
        "without a complete, durable copy",
        destination(({ actions }) => drop<DestinationAction>(actions, "check-seal")),
      ],
      [
        "the destination records READY before the bytes are on the disk",
        "without a complete, durable copy",
        destination(({ actions }) => swap<DestinationAction>(actions, "check-seal", "record-ready")),
      ],
      [
        "the destination says OWNED before it is recorded",
        "nobody may run the VM",
        destination(({ actions }) => {
          if (actions.includes("record-owner")) actions.unshift("send-owned");
        }),
      ],
      [
        "the destination never records that it owns the VM",
        "published while ready",
        destination(({ actions }) => drop<DestinationAction>(actions, "record-owner")),
      ],
      [
        "the destination publishes before it is recorded",
        "published while ready",
        destination(({ actions }) => swap<DestinationAction>(actions, "record-owner", "publish-files")),
      ],
      [
        "the destination says OWNED without publishing",
        "never ends",
        destination(({ actions }) => drop<DestinationAction>(actions, "publish-files")),
      ],
      [
        "the destination stays ready while it receives again",
        "never ends",
        destination(
          ({ actions }, { record }) =>
            record === "ready" && drop<DestinationAction>(actions, "record-receiving"),
        ),
      ],
      [
        "the destination owns what it has, once it is whole",
        "both hosts may run the VM",
        destination(({ actions }) => {
          if (actions.includes("record-ready")) actions.push("record-owner");
        }),
      ],
      [
        "a cancelled session leaves its files",
        "never ends",
        destination(({ actions }) => drop<DestinationAction>(actions, "remove-staging")),
      ],
      [
        "files are removed before the cancellation is recorded",
        "without a complete, durable copy",
        destination(({ actions }) => swap<DestinationAction>(actions, "record-cancelled", "remove-staging")),
      ],
      [
        "late words of an older connection are obeyed",
        "released while the destination is receiving",
        { ...program, newestOnly: false },
      ],
      [
        "a late OFFER revives what was cancelled before it came",
        "never ends",
        { ...program, remembersAttempts: false },
      ],
      [
        "a record is written over what a person settled meanwhile",
        "cancelled>ready",
        { ...program, comparesRecord: false },
      ],
      [
        "a restored journal is believed before the store and what runs",
        "files retired without an owner",
        { ...program, restoresJournals: true, looksAtFiles: false },
      ],
      [
        "a VM that a manager let go on is released all the same",
        "the VM was not withdrawn before",
        source(({ actions }) => drop<SourceAction>(actions, "withdraw-vm")),
        "move",
        true,
        true,
      ],
      [
        "a restored journal ends a VM that runs",
        "the destination ended a VM that runs",
        { ...program, restoresJournals: true, looksAtFiles: false },
        "move",
        true,
      ],
      [
        "a restored journal is believed before the files, at the source",
        "the source resumed the VM, which has run at the destination",
        { ...program, restoresJournals: true, believesFiles: false },
        "move",
        true,
      ],
      [
        "released files are not marked, and the journal is restored",
        "both hosts may run the VM",
        {
          ...source(({ actions }) => drop<SourceAction>(actions, "mark-files")),
          restoresJournals: true,
        },
      ],
    ];
  for (const [what, shows, rules, mode = "move", runs = false, alone = false] of broken) {
    test(what, () => {
      expect(explore(mode, rules, faultsOfBroken, runs, alone).wrong).toContain(shows);
    });
  }
});
