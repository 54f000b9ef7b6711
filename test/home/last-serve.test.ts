import { expect, test } from "bun:test";
import { chmodSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../src/commands/cli/program.ts";
import { type LastServe, lastServe, noteLastServe, serveWords } from "../../src/home/last-serve.ts";
import { commandTree, TestWorld } from "../commands/world.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let home: string;
eachTestInFolder("last-serve", (folder) => {
  home = folder;
});

const last: LastServe = {
  store: "/srv/vms",
  qemu: true,
  allowTcg: true,
  net: "none,0=bridge:br0",
  vmUsers: "off",
  vnc: "unix",
  libvirt: true,
  connect: null,
  netMap: "default=br0",
  attest: true,
  requireAttestation: true,
};

test("what serve was given last can be given again, as it was written", () => {
  expect(lastServe(home)).toBeNull();
  noteLastServe(home, { ...last, store: "/srv/other" });
  noteLastServe(home, last);
  expect(statSync(join(home, "last-serve.json")).mode & 0o777).toBe(0o600);
  expect(lastServe(home)).toEqual(last);
  expect(serveWords(last).join(" ")).toBe(
    "--store /srv/vms --qemu --allow-tcg --net none,0=bridge:br0 --vm-users off --vnc unix --libvirt --net-map default=br0 --attest --require-attestation",
  );
  const plain = {
    ...last,
    qemu: false,
    allowTcg: false,
    net: null,
    vmUsers: null,
    vnc: null,
    libvirt: false,
    netMap: null,
    attest: false,
    requireAttestation: false,
  };
  expect(serveWords(plain)).toEqual(["--store", "/srv/vms"]);
});

test("what an earlier version has written demands no proofs", () => {
  const { attest: _, requireAttestation: __, ...older } = last;
  writeFileSync(join(home, "last-serve.json"), JSON.stringify(older), { mode: 0o600 });
  expect(lastServe(home)).toEqual({ ...last, attest: false, requireAttestation: false });
});

test("a file that others may write or read, or that says something else, decides nothing", () => {
  noteLastServe(home, last);
  const path = join(home, "last-serve.json");
  for (const mode of [0o620, 0o640]) {
    chmodSync(path, mode);
    expect(() => lastServe(home)).toThrow(path);
  }
  chmodSync(path, 0o600);
  for (const text of [
    "",
    "{}",
    "{",
    JSON.stringify({ ...last, store: "vms" }),
    JSON.stringify({ ...last, more: 1 }),
  ]) {
    writeFileSync(path, text);
    expect(() => lastServe(home)).toThrow("is not what migrate serve writes there");
  }
});

test("every flag that decides what is taken, or what a VM gets, is noted", async () => {
  // They are about this one serve: where it listens, how long, for whom.
  const own = ["listen", "once", "idle", "max-sessions", "ticket-ttl", "index", "insecure", "profile-port"];
  const ofAll = ["passphrase-file", "json", "verbose", "help"];
  const world = new TestWorld();
  await runProgram(commandTree("serve"), ["serve", "--help"], world);
  const help = world.take().stdout;
  world.remove();
  const flags = [...help.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, flag]) => flag!);
  const noted = Object.keys(last).map((key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));
  expect(flags.filter((flag) => ![...own, ...ofAll].includes(flag)).sort()).toEqual(noted.sort());
});
