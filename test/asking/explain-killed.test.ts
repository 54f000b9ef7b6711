/** `explain` is killed, or its link cut, while it asks: the destination has nothing of it, and the VM can be sent at once. */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { FrameName } from "../../src/protocol/frames.ts";
import type { SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, sessionsIn } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import { until } from "../support/system/until.ts";

let hosts: TwoHosts;
let vm: SmallVm;

eachTestHasHosts(
  "migrate-asks-",
  (made) => {
    ({ hosts, vm } = made);
  },
  { insecure: true },
);

function expectNothingThere(): void {
  expect(sessionsIn(hosts.destinationHome, "destination")).toEqual([]);
  expect(readdirSync(hosts.store).filter((name) => name !== ".migrate-lock")).toEqual([]);
}

test.each(["ask", "answer"] as const)("at %s", async (frame: FrameName) => {
  await hosts.serve();
  const { proxy } = hosts;
  let explain = hosts.explain(vm.folder);
  let hasPassed = false;
  proxy.rewrite = (_, name) => {
    if (name !== frame || hasPassed) return;
    hasPassed = true;
    explain.signal("SIGKILL");
  };
  await until(() => hasPassed, `${frame} on the link`);
  expect((await explain.exit).signal).toBe("SIGKILL");
  expectNothingThere();
  // Nobody has its name, nor does the next one have to wait.
  explain = hosts.explain(vm.folder);
  expect((await explain.waitFor("explanation")) as unknown).toMatchObject({ refused: [] });
  expectNothingThere();
  expect(sessionsIn(hosts.sourceHome, "source")).toEqual([]);
  const send = hosts.send(vm.folder);
  await send.waitFor("done");
  expect((await send.exit).code).toBe(0);
  expectMoved(vm, hosts, frame);
});

// [ASK-3]
test("of a move that was cut, it is told what the destination has already, and that it goes on", async () => {
  await hosts.serve();
  hosts.proxy.breakBefore = (direction, name) => direction === "to-source" && name === "ack";
  const cut = hosts.send(vm.folder, ["--retry-for", "0s"]);
  expect((await cut.exit).code).toBe(4);
  hosts.proxy.breakBefore = undefined;
  const begun = sessionsIn(hosts.destinationHome, "destination");
  expect(begun).toMatchObject([{ state: "receiving" }]);
  const explain = hosts.explain(vm.folder);
  const said = (await explain.waitFor("explanation")) as unknown as {
    refused: string[];
    there: { heldBytes: number };
  };
  expect(said.refused).toEqual([]);
  expect(said.there.heldBytes).toBeGreaterThan(0);
  const again = hosts.send(vm.folder);
  await again.waitFor("done");
  expect(sessionsIn(hosts.destinationHome, "destination").map(({ session }) => session)).toEqual(
    begun.map(({ session }) => session),
  );
});

// [FRAME-2]
test("a destination of an earlier version is not asked what it does not know, and that is said", async () => {
  await hosts.serve();
  hosts.proxy.rewrite = (_, name, frame) => {
    if (name === "welcome") frame.write("none", frame.indexOf("asks"));
  };
  const explain = hosts.explain(vm.folder);
  const { code, message, side } = await explain.waitFor("error");
  expect({ code, side, exit: (await explain.exit).code }).toEqual({
    code: "version",
    side: "source",
    exit: 6,
  });
  expect(message).toMatch(/^the destination \(migrate\/[\d.]+\) is of a version that cannot be asked$/);
  expect(hosts.proxy.passed("ask")).toBe(0);
  expectNothingThere();
});

test("its link is cut before the answer", async () => {
  await hosts.serve();
  hosts.proxy.breakBefore = (_, name) => name === "answer";
  const explain = hosts.explain(vm.folder);
  expect((await explain.exit).code).toBe(4);
  hosts.proxy.breakBefore = undefined;
  expectNothingThere();
});
