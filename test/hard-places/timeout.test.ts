/** `send --timeout`: a move that takes too long is given up before the handover, and never after it. */
import { expect, test } from "bun:test";
import type { SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";

let vm: SmallVm;
let hosts: TwoHosts;

eachTestHasHosts(
  "migrate-timeout-",
  (made) => {
    ({ vm, hosts } = made);
  },
  { insecure: true },
);

test("a move that is not at the handover in time is given up, and goes on where it stopped", async () => {
  await hosts.serve();
  hosts.proxy.breakBefore = (_, name) => name === "seal";
  const send = hosts.send(vm.folder, ["--timeout", "1500ms"]);
  expect(await send.exit).toMatchObject({ code: 4 });
  expect(send.events.at(-1)).toMatchObject({
    event: "error",
    code: "network",
    message: "not at the handover after 1.5 s (--timeout); the VM stays here",
    hint: expect.stringContaining("the same command goes on"),
  });
  hosts.proxy.breakBefore = undefined;
  const again = hosts.send(vm.folder, ["--timeout", "60s"]);
  expect(await again.exit).toMatchObject({ code: 0 });
  expect(again.events).toContainEqual(expect.objectContaining({ event: "session", resumed: true }));
  expectMoved(vm, hosts, "once there is time");
});

test("one that is released goes on, whatever the time", async () => {
  await hosts.serve();
  // Long enough for a busy machine to come to the handover.
  const timeoutMs = 6000;
  hosts.proxy.breakBefore = (_, name) => name === "owned";
  const begunMs = performance.now();
  const send = hosts.send(vm.folder, ["--timeout", `${timeoutMs}ms`]);
  // It is released, and tries to learn whether the destination has it, until after the time that it had.
  await send.waitFor("phase", { where: ({ phase }) => phase === "handover" });
  await send.waitFor("link", { where: () => performance.now() - begunMs > timeoutMs + 1000 });
  hosts.proxy.breakBefore = undefined;
  expect(await send.exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "after the handover");
});
