/** `migrate delete`: exactly the VM goes, only if it is certainly this host's and nobody's just now, and killed it is ended later. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { deleteOwn, ownEntries } from "../../src/vm/folder/own-files.ts";
import type { SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { TwoHosts } from "../support/moves/two-hosts.ts";
import { startChild } from "../support/system/child.ts";
import type { MigrateProcess } from "../support/system/process.ts";
import { until } from "../support/system/until.ts";

let root: string;
let vm: SmallVm;
let hosts: TwoHosts;

eachTestHasHosts(
  "delete-",
  (made) => {
    ({ root, vm, hosts } = made);
  },
  { insecure: true },
);

const lying = () => join(hosts.store, vm.name);

async function moved(): Promise<MigrateProcess> {
  const serve = await hosts.serve();
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  return serve;
}

async function refusal(...words: string[]) {
  const deleting = hosts.destination(["delete", ...words]);
  const { code } = await deleting.exit;
  return { code, error: deleting.events.at(-1) };
}

test("nothing goes without a word; then the VM goes, and what is not its own stays and is named", async () => {
  await moved();
  const before = readdirSync(lying()).sort();
  expect(await refusal(vm.name)).toMatchObject({ code: 2, error: { code: "usage" } });
  expect(readdirSync(lying()).sort()).toEqual(before);
  writeFileSync(join(lying(), "notes.txt"), "mine");
  const deleting = hosts.destination(["delete", vm.name, "--yes"]);
  expect(await deleting.exit).toMatchObject({ code: 0 });
  expect(deleting.events.at(-1)).toMatchObject({
    event: "deleted",
    name: vm.name,
    files: before.sort((one, other) => Number(one === "vm.json") - Number(other === "vm.json")),
    left: ["notes.txt"],
  });
  expect(readdirSync(lying())).toEqual(["notes.txt"]);
  expect(readFileSync(join(lying(), "notes.txt"), "utf8")).toBe("mine");
  expect(await refusal(vm.name, "--yes")).toMatchObject({ code: 6, error: { code: "vm-invalid" } });
});

test("a VM of which a program has a file open, that is being sent, or that was moved away stays", async () => {
  await moved();
  const before = readdirSync(lying()).sort();
  const [file] = vm.files;
  const words = ["sh", "-c", 'exec 3< "$1"; echo open; exec sleep 1000', "sh", join(lying(), file!.base)];
  const reader = startChild(words);
  await until(() => reader.stdout().includes("open"), "a reader");
  expect(await refusal(vm.name, "--yes")).toMatchObject({
    code: 6,
    error: { code: "vm-busy", message: expect.stringMatching(/ is open in sleep \(process \d+\)$/) },
  });
  await reader.kill();

  const back = await TwoHosts.make(join(root, "back"), { insecure: true });
  back.sourceHome = hosts.destinationHome;
  try {
    await back.serve();
    const send = back.send(lying(), ["--bandwidth", "16K"]);
    await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
    expect(await refusal(vm.name, "--yes")).toMatchObject({ code: 6, error: { code: "vm-busy" } });
    await send.kill();
    // It was not given up.
    expect(await refusal(vm.name, "--yes")).toMatchObject({ code: 6, error: { code: "vm-busy" } });
    expect(readdirSync(lying()).sort()).toEqual(before);
    expect(await back.send(lying(), ["--after", "keep"]).exit).toMatchObject({ code: 0 });
    expect(await refusal(vm.name, "--yes")).toMatchObject({ code: 7, error: { code: "not-owner" } });
    expect(readdirSync(lying()).sort()).toEqual(before);
  } finally {
    await back.close();
  }
});

test("a VM that is being copied stays", async () => {
  await moved();
  const before = readdirSync(lying()).sort();
  const copies = await TwoHosts.make(join(root, "copies"), { insecure: true });
  copies.sourceHome = hosts.destinationHome;
  try {
    await copies.serve();
    const send = copies.send(lying(), ["--copy", "--bandwidth", "16K"]);
    await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
    expect(await refusal(vm.name, "--yes")).toMatchObject({
      code: 6,
      error: { code: "vm-busy", message: expect.stringContaining("is being copied to") },
    });
    expect(readdirSync(lying()).sort()).toEqual(before);
  } finally {
    await copies.close();
  }
});

test("a VM that came by no move, one whose coming has not ended, and a domain of libvirt's stay", async () => {
  const given = hosts.source(["delete", vm.folder, "--yes"]);
  expect(await given.exit).toMatchObject({ code: 7 });
  expect(given.events.at(-1)).toMatchObject({ code: "not-owner" });

  await hosts.serve();
  hosts.proxy.breakBefore = (_, name) => name === "confirm";
  const send = hosts.send(vm.folder, ["--retry-for", "0"]);
  await send.exit;
  const before = readdirSync(lying()).sort();
  expect(await refusal(vm.name, "--yes")).toMatchObject({ code: 7, error: { code: "in-doubt" } });
  const manifest = join(lying(), "vm.json");
  const text = readFileSync(manifest, "utf8");
  writeFileSync(manifest, JSON.stringify({ ...JSON.parse(text), manager: "libvirt" }));
  expect(await refusal(vm.name, "--yes")).toMatchObject({ code: 6, error: { code: "policy" } });
  expect(readdirSync(lying()).sort()).toEqual(before);
});

test("killed after any of its files, it does the rest when it is called again", async () => {
  await moved();
  const script = resolve(import.meta.dir, "../support/moves/killed-delete.ts");
  const names = readdirSync(lying());
  for (let count = 1; existsSync(lying()); count++) {
    const before = readdirSync(lying());
    const child = startChild([process.execPath, script, hosts.destinationHome, lying(), "1"]);
    const { signal } = await child.exit;
    expect({ count, signal, stderr: child.stderr() }).toEqual({ count, signal: "SIGKILL", stderr: "" });
    const after = readdirSync(lying());
    expect(after).toHaveLength(before.length - 1);
    if (after.length > 0) expect(after).toContain("vm.json");
    else break;
    expect(count).toBeLessThan(names.length);
  }
  // All that is left is a folder without a word of what it was.
  expect(readdirSync(lying())).toEqual([]);
  expect(await hosts.destination(["delete", vm.name, "--yes"]).exit).toMatchObject({ code: 0 });
  expect(existsSync(lying())).toBe(false);
});

test("killed once, the same command deletes the rest, folder and all", async () => {
  await moved();
  const script = resolve(import.meta.dir, "../support/moves/killed-delete.ts");
  const child = startChild([process.execPath, script, hosts.destinationHome, lying(), "1"]);
  expect(await child.exit).toMatchObject({ signal: "SIGKILL" });
  expect(await hosts.destination(["delete", vm.name, "--yes"]).exit).toMatchObject({ code: 0 });
  expect(existsSync(lying())).toBe(false);
});

test("no link is followed, and what stands in a file's place is not the VM's", () => {
  const folder = join(root, "linked");
  mkdirSync(join(folder, "tpm"), { recursive: true });
  const outside = join(root, "outside");
  writeFileSync(outside, "mine");
  symlinkSync(outside, join(folder, "disk.raw"));
  symlinkSync(root, join(folder, "other"));
  for (const name of ["ram.img", "tpm/tpm2-00.permall", "tpm/.lock", "tpm/notes", "vm.json"])
    writeFileSync(join(folder, name), "x");
  const file = (kind: "ram" | "disk", name: string) => ({ kind, file: name });
  const { own, others } = ownEntries(folder, {
    files: [file("ram", "ram.img"), file("disk", "disk.raw"), file("disk", "gone.raw")],
  });
  expect(own.map(({ name }) => name).sort()).toEqual([
    "ram.img",
    "tpm/.lock",
    "tpm/tpm2-00.permall",
    "vm.json",
  ]);
  expect(own.at(-1)!.name).toBe("vm.json");
  expect(others.sort()).toEqual(["disk.raw", "other", "tpm/notes"]);
  deleteOwn(folder, own);
  expect(readdirSync(folder).sort()).toEqual(["disk.raw", "other", "tpm"]);
  expect(readdirSync(join(folder, "tpm"))).toEqual(["notes"]);
  expect(readFileSync(outside, "utf8")).toBe("mine");
});
