/**
 * What a person is told where libvirt is not as it should be: a sentence with a way out, an exit code, and nothing is
 * changed. What no libvirt here can be brought to say is played by a program of its name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { killChildren } from "../../support/system/child.ts";
import { builtBinary, runMigrate } from "../../support/system/process.ts";

let folder: string;
let host: LibvirtHost;
const uuid = "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lv-"));
  host = await LibvirtHost.start(folder, "hosta");
}, 300_000);
afterAll(async () => {
  await killChildren();
  await host?.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

interface Said {
  code: string;
  says: string;
  exit: number | null;
}

/** Runs the binary, on the host or, with `env`, beside it; gives the error that it ends with. */
async function errorOf(words: string[], env?: Record<string, string>): Promise<Said> {
  const run = runMigrate([...words, "--json"], {
    home: join(folder, "home"),
    binary: env === undefined ? host.command([builtBinary]) : builtBinary,
    ...(env === undefined ? {} : { env }),
  });
  const { code, message, hint } = await run.waitFor("error", { deadlineMs: 60_000 });
  return { code, says: `${message}. ${hint ?? ""}`, exit: (await run.exit).code };
}

const store = () => join(folder, "store");
const serve = (...flags: string[]) => [
  "serve",
  "--listen",
  "127.0.0.1:0",
  "--store",
  store(),
  "--libvirt",
  ...flags,
];
const send = (name: string, ...flags: string[]) => [
  "send",
  `libvirt:${name}`,
  "127.0.0.1:9",
  "--insecure",
  "--retry-for",
  "0s",
  ...flags,
];

/** A folder with a virsh that answers as the shell's `case` on its words says; what it was started with is in `seen`. */
function played(name: string, cases: string): { env: Record<string, string>; seen: string } {
  const bin = join(folder, name);
  const seen = join(bin, "seen");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "virsh"),
    `#!/bin/sh\nenv > ${seen}\necho "$0 $PWD" >> ${seen}\nshift 3\ncase "$*" in\n${cases}\nesac\n`,
  );
  chmodSync(join(bin, "virsh"), 0o755);
  return {
    env: { PATH: `${bin}:/usr/bin:/bin`, LIBVIRT_DEFAULT_URI: "qemu:///session", SECRET: "hush" },
    seen,
  };
}

const old = (version: string) => `version*) echo "Running against daemon: ${version}";;`;
const ofDomain = (
  state: string,
  job = "None",
) => `dominfo*) printf 'Name: web1\\nUUID: ${uuid}\\nPersistent: yes\\nAutostart: disable\\nManaged save: no\\n';;
domstate*) echo "${state}";;
domjobinfo*) echo "Job type:         ${job}";;
dumpxml*) printf '<domain type="qemu"><name>web1</name><uuid>${uuid}</uuid><memory>65536</memory><vcpu>1</vcpu><os><type arch="x86_64" machine="pc">hvm</type></os><devices/></domain>';;`;

describe("serve --libvirt", () => {
  test.each([
    ["a user's session", "qemu:///session", /user's own libvirt session.*qemu:\/\/\/system/],
    ["another host", "qemu+ssh://hostb/system", /not a libvirt URI of this host/],
    ["another hypervisor", "lxc:///system", /not a libvirt URI of this host/],
    ["a socket with words", "qemu:///system?socket=/a&command=/bin/sh", /not a libvirt URI of this host/],
  ])("of %s", async (_what, uri, says) => {
    const said = await errorOf(serve("--connect", uri));
    expect(said.says).toMatch(says);
    expect(said).toMatchObject({ code: "usage", exit: 2 });
  });

  test("of a map that is none", async () => {
    const said = await errorOf(serve("--net-map", "default="));
    expect(said.says).toMatch(/--net-map is not right/);
    expect(said).toMatchObject({ code: "usage", exit: 2 });
  });

  test.each([
    ["4.3.0", /libvirt 4\.3 is too old.*4\.4 or later/],
    ["3.10.0", /libvirt 3\.10 is too old/],
    ["none of your business", /does not say its version/],
  ])("of version %s", async (version, says) => {
    const { env, seen } = played(`old-${version[0]}${version.length}`, old(version));
    const said = await errorOf(serve(), env);
    expect(said.says).toMatch(says);
    expect(said).toMatchObject({ code: "policy", exit: 6 });
    // Nothing of whoever called reaches virsh, and it is started by its whole path, in no folder of a person's.
    const environment = await Bun.file(seen).text();
    expect(environment).not.toMatch(/hush|LIBVIRT_DEFAULT_URI|MIGRATE_HOME/);
    expect(environment).toContain(`${seen.slice(0, -5)}/virsh /\n`);
  });
});

describe("send libvirt:NAME", () => {
  test.each([
    ["of none", "web1", [], "vm-invalid", /knows no such domain.*migrate ls/],
    ["of a name like a flag", "--all", [], "vm-invalid", /knows no such domain/],
    ["of a name like two commands", "a; destroy b", [], "vm-invalid", /knows no such domain/],
    ["at a user's session", "web1", ["--connect", "qemu:///session"], "usage", /user's own libvirt session/],
  ] as [string, string, string[], string, RegExp][])("%s", async (_what, name, flags, code, says) => {
    const said = await errorOf(send(name, ...flags));
    expect(said.says).toMatch(says);
    expect(said.code).toBe(code);
    expect(said.exit).toBeGreaterThan(1);
  });

  test.each([
    ["crashed", ofDomain("crashed (panicked)"), /web1 is crashed.*virsh destroy/],
    ["between two states", ofDomain("in shutdown (user)"), /web1 is between two states/],
    [
      "being saved",
      ofDomain("paused (saving)", "Unbounded"),
      /libvirt is at work on web1.*virsh domjobabort/,
    ],
    ["being moved by another", ofDomain("running (booted)", "Unbounded"), /libvirt is at work on web1/],
    ["described in other words", "dominfo*) echo Nom: web1;;", /words that are not known/],
    ["never told of", "dominfo*) head -c 5000000 /dev/zero;;", /answer is too long/],
    [
      "of an unknown kind of error",
      "*) printf 'error: \\033[2Jboom' >&2; exit 1;;",
      // It is asked several things at once, and the first answer counts.
      /libvirt cannot dom\w+: .*boom/,
    ],
  ])(
    "of one that is %s",
    async (what, cases, says) => {
      const said = await errorOf(send("web1"), played(`domain-${what.length}-${what[0]}`, cases).env);
      expect(said.says).toMatch(says);
      expect(said.says).not.toContain("\u001b");
      expect(said.exit).toBeGreaterThan(1);
    },
    60_000,
  );

  test("without virsh", async () => {
    const said = await errorOf(send("web1"), { PATH: join(folder, "nothing") });
    expect(said.says).toMatch(/virsh is not installed.*apt-get install libvirt-clients/);
    expect(said).toMatchObject({ code: "policy", exit: 6 });
  });
});

test("without libvirtd, both say so, and nothing is made", async () => {
  await host.killLibvirtd();
  const way = /libvirt cannot be reached at qemu:\/\/\/system: .*see that libvirtd \(or virtqemud\) runs/;
  for (const words of [serve(), send("web1")]) {
    const said = await errorOf(words);
    expect(said.says).toMatch(way);
    expect(said).toMatchObject({ code: "policy", exit: 6 });
  }
  expect(existsSync(join(folder, "home", "libvirt.json"))).toBe(false);
}, 60_000);
