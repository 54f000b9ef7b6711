/** The words of a plan: what is none is refused before anything of it is done. */
import { expect, test } from "bun:test";
import { type Plan, parsePlan } from "../../../src/vm/confinement/plan.ts";

const plan: Plan = {
  user: { uid: 1_900_000_001, gid: 1_900_000_001, groups: [36] },
  view: true,
  network: "none",
  landlock: true,
  files: [
    { path: "/home/run/web1", right: "own" },
    { path: "/b", from: "/a", right: "read" },
  ],
  cgroups: ["/sys/fs/cgroup/migrate-vm-1/cgroup.procs"],
  kept: [3, 4],
  descriptors: 4096,
  cwd: "/",
};

test("a plan is what it was when it was written", () => {
  expect(parsePlan(JSON.stringify(plan))).toEqual(plan);
  expect(parsePlan(JSON.stringify({ ...plan, user: null }))).toEqual({ ...plan, user: null });
});

test.each([
  ["no JSON", "{"],
  ["no user at all", JSON.stringify({ ...plan, user: undefined })],
  ["a user below zero", JSON.stringify({ ...plan, user: { uid: -1, gid: 0, groups: [] } })],
  ["a right that there is not", JSON.stringify({ ...plan, files: [{ path: "/a", right: "all" }] })],
  ["a path that depends on where one is", JSON.stringify({ ...plan, cwd: "run" })],
  ["no word on the network", JSON.stringify({ ...plan, network: undefined })],
])("%s is refused", (_, text) => {
  expect(() => parsePlan(text)).toThrow();
});
