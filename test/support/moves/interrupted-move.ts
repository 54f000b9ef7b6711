/** A move of a running VM that is brought to a chosen moment, and what must be so once it was given up there. */
import { expect } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Phase } from "../../../src/migration/ownership/phases.ts";
import type { FrameName } from "../../../src/protocol/frames.ts";
import type { RunningGuest } from "../guests/running-guest.ts";
import type { MigrateProcess } from "../system/process.ts";
import { until } from "../system/until.ts";
import type { RunningHosts } from "./running-hosts.ts";
import { doneOf, expectDisksAgree, expectMoved } from "./whole-move.ts";

export interface Moment {
  phase: Phase;
  /** What happens then; ends the test's name. */
  when: string;
  flags?: string[];
  /** Words for the guest. */
  append?: string;
  /** Before the move begins. */
  arrange?: (at: RunningHosts, serve: MigrateProcess) => void;
  /** Settles when the move is where it is to be interrupted. */
  reached: (send: MigrateProcess, at: RunningHosts) => Promise<unknown>;
}

/** The move has come to that phase. */
export const phase = (name: Phase) => (send: MigrateProcess) =>
  send.waitFor("phase", { where: (event) => event.phase === name });

/** Some of the RAM is there, in that pass over it or a later one. */
export const ram = (least: number) => (send: MigrateProcess) =>
  send.waitFor("ram", {
    where: ({ iteration, transferredBytes }) => iteration >= least && transferredBytes > 0,
    deadlineMs: 60_000,
  });

/** Some of that file is there, and some is not. */
export const within = (file: string) => (send: MigrateProcess) =>
  send.waitFor("progress", {
    where: ({ files }) =>
      files.some((each) => each.file === file && each.doneBytes > 0 && each.doneBytes < each.bytes),
  });

/** The destination stands still from before it hears of this frame. */
export function heldAt(frame: FrameName): Pick<Moment, "arrange" | "reached"> {
  return {
    arrange: ({ hosts }, serve) => {
      hosts.proxy.breakBefore = (_, name) => {
        if (name === frame) serve.signal("SIGSTOP");
        return false;
      };
    },
    reached: (_, { hosts }) => until(() => hosts.proxy.passed(frame) > 0, frame, 60_000),
  };
}

export interface Stage {
  at: RunningHosts;
  guest: RunningGuest;
  serve: MigrateProcess;
  send: MigrateProcess;
}

/** Begins a move between two hosts whose link knows the frames, and gives it at that moment. */
export async function stageAt(moment: Moment, at: RunningHosts): Promise<Stage> {
  const { flags = [], append, arrange, reached } = moment;
  await fill(join(at.folder, "web1"));
  const guest = await at.guest({
    disks: [
      { name: "system.qcow2", format: "qcow2" },
      { name: "data.raw", format: "raw" },
    ],
    ...(append === undefined ? {} : { append }),
  });
  const serve = await at.serve();
  await guest.waitForTick(3);
  arrange?.(at, serve);
  const send = at.send(guest, flags);
  await reached(send, at);
  return { at, guest, serve, send };
}

/** A raw disk of which the second half is full, so that it takes a while; the guest's ticks lie in the first. */
async function fill(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const file = await open(join(folder, "data.raw"), "w");
  const bytes = randomBytes(16 * 2 ** 20);
  await file.write(bytes, 0, bytes.length, bytes.length);
  await file.close();
}

/** What the source's QEMU has, once the move was given up, of what it had before. */
export async function expectAsBefore(guest: RunningGuest): Promise<void> {
  expect(await guest.status()).toBe("running");
  const monitor = await guest.watch();
  expect(await monitor.execute("query-block-jobs")).toEqual([]);
  const nodes = (await monitor.execute("query-named-block-nodes")) as { "node-name": string }[];
  expect(nodes.filter((node) => node["node-name"].startsWith("migrate-"))).toEqual([]);
  const { status = "none" } = (await monitor.execute("query-migrate")) as { status?: string };
  expect(status).toBeOneOf(["none", "cancelled", "failed", "completed"]);
  const known = (await monitor.execute("query-migrate-capabilities")) as {
    capability: string;
    state: boolean;
  }[];
  const on = known.filter(({ state }) => state).map(({ capability }) => capability);
  // Events do no harm to whoever sends the VM next.
  expect(on.filter((capability) => capability !== "events")).toEqual([]);
  await guest.waitForTick(guest.ticks().at(-1)! + 3);
}

/** Nothing of the VM is, or runs, at the destination. */
export async function expectNothingThere(at: RunningHosts): Promise<void> {
  const { destinationHome, store } = at.hosts;
  await until(() => at.processesAtDestination().length === 0, "the end of the destination's QEMU");
  await until(() => !existsSync(join(destinationHome, "run", "web1")), "the end of the run folder");
  const left = () => readdirSync(store).filter((name) => name !== ".migrate-lock");
  await until(() => left().length === 0, `an empty store; there is ${left()}`);
}

/** The same command moves it now. */
export async function expectMovesNow({ at, guest }: Pick<Stage, "at" | "guest">): Promise<void> {
  await doneOf(at.send(guest));
  const arrived = await expectMoved(at, guest);
  await arrived.waitForTick(guest.ticks().at(-1)! + 3);
  await expectDisksAgree(join(at.hosts.store, "web1"), guest.options.disks.slice(0, 1), arrived, guest);
}
