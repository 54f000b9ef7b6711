/** What a move by ssh is refused for: by name, with a way out, before a byte of the VM is sent, and leaving nothing. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import type { SshHosts } from "../../support/ssh/ssh-hosts.ts";
import {
  done,
  expectArrived,
  failure,
  said,
  sshHostsOfEachTest,
} from "../../support/ssh/ssh-hosts-of-tests.ts";
import { runChild } from "../../support/system/child.ts";
import type { MigrateProcess } from "../../support/system/process.ts";

const makeHosts = sshHostsOfEachTest();
const limitMs = 120_000;

/** A send of a small VM, and what it is refused with; nothing of it is gone, and nothing runs. */
async function refused(hosts: SshHosts, address: string, flags: string[] = []) {
  rmSync(hosts.at("refused"), { recursive: true, force: true });
  const vm = makeSmallVm(hosts.at("refused"));
  const send = hosts.migrate(["send", vm.folder, address, ...flags, "--json"]);
  const told = await failure(send);
  for (const file of vm.files) expect(existsSync(file.path)).toBe(true);
  await hosts.waitUntilQuiet();
  expect(readdirSync(hosts.at("tmp"))).toEqual([]);
  return { ...told, send };
}

const copied = (hosts: SshHosts, account: string) => existsSync(hosts.cache(account));
const sessionsHere = async (hosts: SshHosts): Promise<string> => {
  const status = hosts.migrate(["status", "--json"]);
  await status.exit;
  return status.stdout();
};

test(
  "an unknown account, an unknown host key, a changed one and a host that is not there",
  async () => {
    const hosts = await makeHosts();
    const store = hosts.at("store");
    const nobody = await refused(hosts, hosts.address("nobody-here", store));
    expect(nobody).toMatchObject({ exit: 3, code: "not-trusted" });
    expect(nobody.message).toContain("does not let ssh in (it takes publickey)");
    expect(nobody.hint).toContain("ssh-copy-id nobody-here@10.77.0.2");
    expect(await sessionsHere(hosts)).toBe("");

    const known = readFileSync(hosts.at("home-source/.ssh/known_hosts"), "utf8");
    hosts.know("");
    const unknown = await refused(hosts, hosts.address("root", store));
    expect(unknown).toMatchObject({ exit: 3, code: "not-trusted" });
    expect(unknown.message).toContain("ssh does not know root@10.77.0.2 by its host key yet");
    expect(readFileSync(hosts.at("home-source/.ssh/known_hosts"), "utf8")).toBe("");

    const [, kind] = known.split(" ");
    const other = readFileSync(hosts.at("home-source/.ssh/id_ed25519.pub"), "utf8").split(" ")[1];
    hosts.know(`${hosts.network.address("destination")} ${kind} ${other}\n`);
    const changed = await refused(hosts, hosts.address("root", store));
    expect(changed).toMatchObject({ exit: 3, code: "not-trusted" });
    expect(changed.message).toContain("shows another host key than ssh knows it by");
    hosts.know(known);

    await hosts.sshd?.kill();
    const gone = await refused(hosts, hosts.address("root", store));
    expect(gone).toMatchObject({ exit: 4, code: "network" });
    expect(gone.message).toContain("no ssh server answers at root@10.77.0.2");
  },
  limitMs,
);

test(
  "another architecture, and another system, before anything is copied",
  async () => {
    const uname = 'case $1 in -m) echo "$MACHINE";; *) echo "$SYSTEM";; esac';
    for (const [system, machine, said] of [
      ["Linux", "riscv64", "root@10.77.0.2 is riscv64, and this program is for x86_64"],
      ["Darwin", "x86_64", "root@10.77.0.2 runs Darwin, not Linux"],
    ]) {
      const hosts = await makeHosts({
        programs: { uname: `SYSTEM=${system}; MACHINE=${machine}; ${uname}` },
      });
      const told = await refused(hosts, hosts.address("root", hosts.at("store")));
      expect(told).toMatchObject({ exit: 6, code: "policy" });
      expect(told.message).toContain(said!);
      expect(copied(hosts, "root")).toBe(false);
      expect(existsSync(hosts.at("store"))).toBe(false);
    }
  },
  limitMs,
);

test(
  "an account that may not write the store and has no sudo, before anything is copied",
  async () => {
    const hosts = await makeHosts({ sudo: false });
    for (const store of ["", hosts.at("var-lib/vms")]) {
      const told = await refused(hosts, hosts.address("mover", store));
      expect(told).toMatchObject({ exit: 6, code: "policy" });
      expect(told.message).toContain(
        `mover at mover@10.77.0.2 may not write ${store || "/var/lib/migrate/vms"}`,
      );
      expect(told.message).toContain("sudo asks it for a password there");
      expect(told.hint).toContain("NOPASSWD");
    }
    expect(copied(hosts, "mover")).toBe(false);
  },
  limitMs,
);

test(
  "a closed port and a forbidden forwarding are named together; one of them alone is a way",
  async () => {
    const hosts = await makeHosts({
      installed: true,
      portsClosed: true,
      sshd: ["AllowStreamLocalForwarding no"],
    });
    const store = hosts.at("store");
    const both = await refused(hosts, hosts.address("root", store));
    expect(both).toMatchObject({ exit: 6, code: "policy" });
    expect(both.message).toContain("forwards no unix socket (AllowStreamLocalForwarding");
    expect(both.message).toContain("and port 7600 there is not reached from here");
    expect(both.hint).toContain("AllowStreamLocalForwarding yes");

    const direct = await refused(hosts, hosts.address("root", store), [
      "--via",
      "direct",
      "--retry-for",
      "0s",
    ]);
    expect(direct).toMatchObject({ exit: 4, code: "network" });
    expect(direct.message).toContain("no direct way to root@10.77.0.2: port 7600");
    expect(await sessionsHere(hosts)).toBe("");

    await runChild(["ip", "-n", hosts.network.namespace("destination"), "rule", "del", "pref", "10"]);
    const vm = makeSmallVm(hosts.at("web1"));
    const send = hosts.migrate(["send", vm.folder, hosts.address("root", store), "--json"]);
    await done(send);
    expectArrived(vm, store);
  },
  limitMs,
);

test(
  "flags that do not go together, and addresses that no ssh may be given",
  async () => {
    const hosts = await makeHosts();
    const usage = async (words: string[]): Promise<string> => {
      const send: MigrateProcess = hosts.migrate(["send", "/nowhere", ...words, "--json"]);
      const { exit, message } = await failure(send);
      expect(exit).toBe(2);
      return message;
    };
    expect(await usage(["ssh://root@hostb", "--insecure"])).toContain("--insecure is not for a host");
    expect(await usage(["ssh://root@hostb", "--ticket", "mig1-x"])).toContain("--ticket is not for a host");
    expect(await usage(["hostb:7600", "--via", "ssh"])).toContain(
      "--via is about a host that is reached by ssh",
    );
    expect(await usage(["ssh://-oProxyCommand=x"])).toContain("names no host");
    expect(await usage(["ssh://a%20b@hostb"])).toContain("names no user");
    expect(await usage(["ssh://hostb/srv/../etc"])).toContain("ends in a folder that is none");
  },
  limitMs,
);

test(
  "another version there is left alone, and said; the same one is used where it lies",
  async () => {
    const hosts = await makeHosts({ programs: { migrate: "echo 'migrate 0.0.9 (0123456789ab)'" } });
    const vm = makeSmallVm(hosts.at("web1"));
    const store = hosts.at("store");
    const send = hosts.migrate(["send", vm.folder, hosts.address("root", store), "--json"]);
    await done(send);
    expectArrived(vm, store);
    const path = join(hosts.at("bin"), "migrate");
    expect(said(send)).toContain(
      `${path} at root@10.77.0.2 is another one (migrate 0.0.9 (0123456789ab)): it is left alone`,
    );
    expect(readFileSync(path, "utf8")).toContain("0.0.9");

    const same = await makeHosts({ installed: true });
    const other = makeSmallVm(same.at("web1"));
    const there = same.migrate(["send", other.folder, same.address("root", same.at("store")), "--json"]);
    await done(there);
    expect(copied(same, "root")).toBe(false);
  },
  limitMs,
);
