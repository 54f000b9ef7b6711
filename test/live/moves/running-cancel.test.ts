/**
 * Ctrl-C in every phase of the move of a running VM: until it is released it goes on at the source as if
 * nothing had been, and nothing of it stays at the destination; after that the move is finished.
 */
import { describe, expect, test } from "bun:test";
import { phases } from "../../../src/migration/ownership/phases.ts";
import { triedAgain, wholeGuest } from "../../support/guests/lost-guest.ts";
import {
  expectAsBefore,
  expectMovesNow,
  expectNothingThere,
  heldAt,
  type Moment,
  phase,
  ram,
  type Stage,
  stageAt,
  within,
} from "../../support/moves/interrupted-move.ts";
import { sessionsIn } from "../../support/moves/ownership.ts";
import { hostsOfEachTest } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved, failureOf } from "../../support/moves/whole-move.ts";
import { until } from "../../support/system/until.ts";

const newHosts = hostsOfEachTest({ insecure: true });
const limitMs = 240_000;

const goesOnHere: Moment[] = [
  {
    phase: "begin",
    when: "the destination has not answered",
    arrange: (_, serve) => serve.signal("SIGSTOP"),
    reached: (_, { hosts }) => until(() => hosts.proxy.connections > 0, "a connection"),
  },
  {
    phase: "prepare",
    when: "its kernel is on its way",
    flags: ["--bandwidth", "4M"],
    reached: within("vmlinuz"),
  },
  {
    phase: "pre-copy",
    when: "a disk is being mirrored",
    flags: ["--bandwidth", "8M"],
    reached: within("data.raw"),
  },
  {
    phase: "pre-copy",
    when: "its RAM goes for the first time",
    flags: ["--bandwidth", "16M"],
    reached: ram(1),
  },
  {
    phase: "pre-copy",
    when: "its RAM goes once more",
    flags: ["--bandwidth", "16M", "--downtime-limit", "10ms", "--multifd", "2"],
    append: "dirty_mib=32",
    reached: ram(2),
  },
  {
    phase: "stop-and-copy",
    when: "it stands still for the last part of a live move",
    // All of its RAM is the last part, which takes seconds.
    flags: ["--bandwidth", "16M", "--downtime-limit", "60s"],
    reached: phase("stop-and-copy"),
  },
  {
    phase: "stop-and-copy",
    when: "it stands still, and its disks are on their way",
    flags: ["--mode", "stop", "--bandwidth", "8M"],
    reached: within("data.raw"),
  },
  {
    phase: "stop-and-copy",
    when: "it stands still, and its RAM is on its way",
    flags: ["--mode", "stop", "--bandwidth", "16M"],
    reached: ram(1),
  },
  { phase: "seal", when: "the destination checks what it has", ...heldAt("seal") },
];

const goesOnThere: Moment[] = [
  { phase: "handover", when: "it was released", ...heldAt("release") },
  { phase: "confirm", when: "it runs over there", ...heldAt("confirm") },
];

const begun = async (moment: Moment): Promise<Stage> => await stageAt(moment, await newHosts());

test("every phase is interrupted below", () => {
  const interrupted = new Set([...goesOnHere, ...goesOnThere].map((moment) => moment.phase));
  expect([...phases].filter((name) => !interrupted.has(name))).toEqual([]);
});

// [VM-7]
describe("an interrupted VM goes on here, and the same command moves it later", () => {
  for (const moment of goesOnHere) {
    test(
      `${moment.phase}: ${moment.when}`,
      triedAgain(async () => {
        const stage = await begun(moment);
        const { at, guest, serve, send } = stage;
        send.signal("SIGINT");
        await until(async () => (await guest.status()) === "running", "the VM to go on");
        // Nobody has been told of anything yet: the command ends without an answer.
        if (moment.phase === "begin") await send.exit;
        // If the destination was held, the VM did not have to wait for it.
        serve.signal("SIGCONT");
        const error = await failureOf(send);
        expect(error).toMatchObject({ code: "interrupted", phase: moment.phase, exitCode: 130 });
        await expectAsBefore(guest);
        await expectNothingThere(at);
        at.hosts.proxy.breakBefore = undefined;
        await wholeGuest(() => expectMovesNow(stage));
      }),
      limitMs,
    );
  }

  test(
    "a second Ctrl-C ends the command at once, and the VM goes on all the same",
    async () => {
      const stage = await begun(goesOnHere.find(({ when }) => when.startsWith("it stands still for"))!);
      const { at, guest, send } = stage;
      send.signal("SIGINT");
      send.signal("SIGINT");
      expect(await send.exit).toEqual({ code: 130, signal: null });
      await until(async () => (await guest.status()) === "running", "the VM to go on");
      const settled = () =>
        sessionsIn(at.hosts.sourceHome, "source").every((session) => session.settled === 1);
      await until(settled, "the move to be given up");
      await expectAsBefore(guest);
      await expectNothingThere(at);
      await expectMovesNow(stage);
    },
    limitMs,
  );

  test(
    "SIGTERM does the same",
    async () => {
      const stage = await begun(goesOnHere.find(({ when }) => when.startsWith("its RAM goes for"))!);
      stage.send.signal("SIGTERM");
      expect(await failureOf(stage.send)).toMatchObject({ code: "interrupted", exitCode: 130 });
      await expectAsBefore(stage.guest);
      await expectNothingThere(stage.at);
    },
    limitMs,
  );
});

describe("a VM that was released is moved all the same", () => {
  for (const moment of goesOnThere) {
    test(
      `${moment.phase}: ${moment.when}`,
      async () => {
        const { at, guest, serve, send } = await begun(moment);
        send.signal("SIGINT");
        await send.waitFor("notice", { where: ({ message }) => message.includes("released") });
        serve.signal("SIGCONT");
        await doneOf(send);
        const arrived = await expectMoved(at, guest);
        await arrived.waitForTick(guest.ticks().at(-1)! + 3);
      },
      limitMs,
    );
  }

  test(
    "a second Ctrl-C leaves it to the next command, and until then it runs nowhere",
    async () => {
      const { at, guest, serve, send } = await begun(goesOnThere[0]!);
      send.signal("SIGINT");
      await send.waitFor("notice", { where: ({ message }) => message.includes("in doubt") });
      send.signal("SIGINT");
      expect(await send.exit).toEqual({ code: 130, signal: null });
      expect(sessionsIn(at.hosts.sourceHome, "source")).toMatchObject([{ state: "released", settled: 0 }]);
      expect(await guest.status()).not.toBe("running");
      at.hosts.proxy.breakBefore = undefined;
      serve.signal("SIGCONT");
      await doneOf(at.send(guest));
      const arrived = await expectMoved(at, guest);
      await arrived.waitForTick(guest.ticks().at(-1)! + 3);
    },
    limitMs,
  );
});
