/** A VM's own policy: it goes with the VM, both sides keep to it, and it is loosened where the VM lies alone. */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SmallVm } from "../../support/files/small-vm.ts";
import { eachTestHasHosts } from "../../support/moves/hosts-of-tests.ts";
import { sessionsIn } from "../../support/moves/ownership.ts";
import { TwoHosts } from "../../support/moves/two-hosts.ts";
import type { MigrateProcess } from "../../support/system/process.ts";

let root: string;
let vm: SmallVm;
let hosts: TwoHosts;
eachTestHasHosts("migrate-vm-policy-", (made) => {
  ({ root, vm, hosts } = made);
});

async function ended(process: MigrateProcess, code: number): Promise<Record<string, unknown>> {
  expect(await process.exit, process.stdout() + process.stderr()).toEqual({ code, signal: null });
  return process.events.at(-1) as unknown as Record<string, unknown>;
}
const manifestIn = (folder: string) => JSON.parse(readFileSync(join(folder, "vm.json"), "utf8"));

// [RULE-4]
test("a rule that is added on the way goes on with the VM, and stops a copy of it there; another move brings it back", async () => {
  await hosts.serve();
  const send = hosts.send(vm.folder, ["--vm-policy", "no-copies"]);
  await ended(send, 0);
  expect(send.events).toContainEqual(
    expect.objectContaining({ message: "web1 is not copied, there as well as here: its own policy says so" }),
  );
  const there = join(hosts.store, "web1");
  expect(manifestIn(there).policy).toEqual({ onlyAttested: false, noCopies: true });
  const ls = hosts.destination(["ls", "--store", hosts.store]);
  expect(await ls.exit).toMatchObject({ code: 0 });
  expect(ls.events).toContainEqual(expect.objectContaining({ name: "web1", policy: ["no-copies"] }));

  const says = { code: "policy", message: "web1 is not copied: its own policy says so" };
  expect(
    await ended(hosts.destination(["send", there, "127.0.0.1:9", "--insecure", "--copy"]), 6),
  ).toMatchObject(says);
  const explain = await ended(hosts.destination(["explain", there, "--copy"]), 6);
  expect(explain.refused).toEqual([expect.stringContaining(says.message)]);

  const back = await TwoHosts.make(join(root, "back"));
  back.sourceHome = hosts.destinationHome;
  back.destinationHome = hosts.sourceHome;
  await back.serve();
  // Another rule cannot be taken away by leaving it out.
  await ended(back.send(there), 0);
  expect(manifestIn(join(back.store, "web1")).policy).toEqual({ onlyAttested: false, noCopies: true });
  await back.close();
});

// [RULE-3]
test("a VM that goes to attested hosts alone is not even named to one that has proven nothing", async () => {
  await hosts.serve();
  const error = await ended(hosts.send(vm.folder, ["--vm-policy", "attested,no-copies"]), 3);
  expect(error).toMatchObject({ code: "attestation", hint: expect.stringContaining("migrate vm-policy") });
  expect(sessionsIn(hosts.destinationHome, "destination")).toEqual([]);
  // The rule was of that send alone: the VM has not left.
  await ended(hosts.send(vm.folder), 0);
});

test("migrate vm-policy shows and sets it, changes nothing else of vm.json, and takes a rule away only on a person's word", async () => {
  writeFileSync(join(vm.folder, "vm.json"), JSON.stringify({ ...manifestIn(vm.folder), note: "kept" }));
  const policy = (...words: string[]) => hosts.source(["vm-policy", vm.folder, ...words]);
  expect(await ended(policy(), 0)).toMatchObject({ event: "vm-policy", name: "web1", policy: [] });
  expect(await ended(policy("attested,no-copies"), 0)).toMatchObject({ policy: ["attested", "no-copies"] });
  expect(manifestIn(vm.folder)).toMatchObject({
    note: "kept",
    policy: { onlyAttested: true, noCopies: true },
  });
  expect(await ended(policy("attested,no-copie"), 2)).toMatchObject({ code: "usage" });
  expect(await ended(policy("attested"), 2)).toMatchObject({ code: "usage" });
  expect(await ended(policy("attested", "--yes"), 0)).toMatchObject({ policy: ["attested"] });
  expect(await ended(policy("none", "--yes"), 0)).toMatchObject({ policy: [] });
  expect(manifestIn(vm.folder).policy).toBeUndefined();
});

test("a rule in vm.json that is not known here is not passed over", async () => {
  writeFileSync(
    join(vm.folder, "vm.json"),
    JSON.stringify({ ...manifestIn(vm.folder), policy: { noCopies: true, onlyOnMondays: true } }),
  );
  const error = await ended(hosts.source(["explain", vm.folder]), 6);
  expect(error.refused).toEqual([expect.stringContaining("policy")]);
});
