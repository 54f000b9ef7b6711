/** What is run on the other host before this program is there, run here: by every shell that is at hand. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { programThere, readLook, requireSameMachine } from "../../src/ssh/remote-look.ts";
import {
  copyCommand,
  copyExits,
  lookCommand,
  remoteCommand,
  removeCommand,
} from "../../src/ssh/remote-scripts.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let folder = "";
eachTestInFolder("scripts-", (made) => {
  folder = made;
});

const shells = ["/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/zsh", "/usr/bin/fish"].filter((path) =>
  existsSync(path),
);
const script = "#!/bin/sh\necho 'migrate 1.2.3 (0123456789ab)'\n";
const hash = createHash("sha256").update(script).digest("hex");

/** As sshd runs it: the account's shell with -c. */
async function run(shell: string, command: string, input = "", env: Record<string, string> = {}) {
  const child = Bun.spawn([shell, "-c", command], {
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: `${folder}/bin:/usr/bin:/bin:/usr/sbin`, HOME: folder, ...env },
  });
  const stdout = await new Response(child.stdout).text();
  return { code: await child.exited, stdout };
}

const lookOf = async (shell: string, store = "", env = {}) =>
  readLook((await run(shell, lookCommand(hash, script.length, store), "", env)).stdout, "hostb");

test.each(shells)("%s tells what is there", async (shell) => {
  const look = await lookOf(shell, join(folder, "deep/er/vms"), {
    SSH_CONNECTION: "192.0.2.1 5 192.0.2.7 22",
  });
  expect(look).toMatchObject({
    system: "Linux",
    uid: process.getuid?.(),
    cache: `${folder}/.cache/migrate`,
    cached: "",
    writable: true,
    reachedAt: "192.0.2.7",
  });
  expect(look.has).toContain("sha256sum");
  expect(look.inPath).toBeUndefined();
  expect((await lookOf(shell, "/proc/vms")).writable).toBe(process.getuid?.() === 0);
  requireSameMachine(look, process.arch, "hostb");
  expect(readdirSync(folder)).toEqual([]);
});

test.each(shells)("%s copies this program, knows it again, and removes it", async (shell) => {
  expect(await run(shell, copyCommand(hash, "none"), script)).toEqual({ code: 0, stdout: "" });
  const look = await lookOf(shell);
  const path = `${folder}/.cache/migrate/${hash}/migrate`;
  expect(programThere(look, hash)).toBe(path);
  expect(readFileSync(path, "utf8")).toBe(script);
  // A user of a VM runs it; nobody else comes to it.
  expect([path, dirname(path)].map((at) => statSync(at).mode & 0o777)).toEqual([0o755, 0o700]);
  // One that was damaged since is not used.
  writeFileSync(path, script.replace("1.2.3", "1.2.4"));
  expect(programThere(await lookOf(shell), hash)).toBeNull();
  expect((await run(shell, removeCommand(hash))).code).toBe(0);
  expect(readdirSync(join(folder, ".cache"))).toEqual([]);
});

test("what did not arrive whole, or does not run, leaves nothing", async () => {
  const cut = script.slice(0, -1);
  expect((await run("/bin/sh", copyCommand(hash, "none"), cut)).code).toBe(copyExits.hash);
  expect((await run("/bin/sh", copyCommand(hash, "gzip"), script)).code).toBe(copyExits.writing);
  const failing = "#!/bin/sh\nexit 1\n";
  const failingHash = createHash("sha256").update(failing).digest("hex");
  expect((await run("/bin/sh", copyCommand(failingHash, "none"), failing)).code).toBe(copyExits.running);
  for (const one of [hash, failingHash]) expect(readdirSync(`${folder}/.cache/migrate/${one}`)).toEqual([]);
});

test("a cache that is a file is said", async () => {
  writeFileSync(join(folder, ".cache"), "");
  expect((await run("/bin/sh", copyCommand(hash, "none"), script)).code).toBe(copyExits.folder);
});

test("another migrate in the PATH is seen, with its version, and one that is the same", async () => {
  mkdirSync(join(folder, "bin"));
  const path = join(folder, "bin/migrate");
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  expect(programThere(await lookOf("/bin/sh"), hash)).toBe(path);
  writeFileSync(path, "#!/bin/sh\necho 'migrate 0.0.9'\n");
  const look = await lookOf("/bin/sh");
  expect(look.inPath).toEqual({ path, hash: "", version: "migrate 0.0.9" });
  expect(programThere(look, hash)).toBeNull();
});

test("a relative XDG_CACHE_HOME counts for nothing, an absolute one is used", async () => {
  expect((await lookOf("/bin/sh", "", { XDG_CACHE_HOME: "here" })).cache).toBe(`${folder}/.cache/migrate`);
  expect((await lookOf("/bin/sh", "", { XDG_CACHE_HOME: "/var/cache/x" })).cache).toBe(
    "/var/cache/x/migrate",
  );
});

test("a word arrives as it is, whatever shell reads it, and one that could be read otherwise is not sent", async () => {
  const words = ["$HOME", "a b", '"', "`id`", "$(id)", "*", "~", "a;b", "\\", "größe"];
  for (const shell of shells.filter((path) => !path.endsWith("fish"))) {
    const { stdout } = await run(shell, remoteCommand(["printf", "%s|", ...words]));
    expect(stdout).toBe(words.map((word) => `${word}|`).join(""));
  }
  for (const word of ["it's", "a\nb", "a!b", "a\0b"])
    expect(() => remoteCommand([word])).toThrow("cannot be quoted");
});
