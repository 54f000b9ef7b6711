/** As whom a VM is received by ssh, and by which serve: root by sudo, the account itself, or a serve that runs there. */
import { expect, test } from "bun:test";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { user } from "../../support/ssh/ssh-hosts.ts";
import {
  done,
  expectArrived,
  failure,
  said,
  sshHostsOfEachTest,
} from "../../support/ssh/ssh-hosts-of-tests.ts";
import { runMigrate } from "../../support/system/process.ts";

const makeHosts = sshHostsOfEachTest();
const limitMs = 120_000;

test(
  "root by sudo where the store is that host's to choose, and the account can reach the socket of root's serve",
  async () => {
    const hosts = await makeHosts({ installed: true, portsClosed: true });
    const vm = makeSmallVm(hosts.at("web1"));
    const send = hosts.migrate(["send", vm.folder, hosts.address("mover"), "--json"]);
    await done(send);
    const store = hosts.at("var-lib/migrate/vms");
    expectArrived(vm, store);
    expect(statSync(join(store, "web1")).uid).toBe(0);
    expect(said(send)).toContain(
      "receives in /var/lib/migrate/vms, as root (sudo), by a serve for this command alone",
    );
    expect(said(send)).toContain("is reached through ssh");
    expect(existsSync(hosts.at("home-mover/.local"))).toBe(false);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "the account itself where it may write the store, with sudo or without",
  async () => {
    const hosts = await makeHosts({ installed: true, sudo: false, portsClosed: true });
    const store = hosts.at("home-mover/vms");
    const vm = makeSmallVm(hosts.at("web1"));
    const send = hosts.migrate(["send", vm.folder, hosts.address("mover", store), "--json"]);
    await done(send);
    expectArrived(vm, store);
    expect(statSync(join(store, "web1")).uid).toBe(user.uid);
    expect(said(send)).toContain(`receives in ${store}, as mover, by a serve for this command alone`);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "the user's own configuration of ssh counts, but for what would be run or forwarded beside",
  async () => {
    // One command at a time is enough.
    const hosts = await makeHosts({ installed: true, portsClosed: true, sshd: ["MaxSessions 1"] });
    const [kind, key] = readFileSync(hosts.at("host-key.pub"), "utf8").split(" ");
    hosts.know(`box ${kind} ${key}\n`);
    const lines = [
      ...["Host box", "HostName 10.77.0.2", "HostKeyAlias box", "User mover", "RemoteCommand echo hello"],
      ...["RequestTTY force", "LocalForward 127.0.0.1:65000 127.0.0.1:9", "RemoteForward 65001 127.0.0.1:9"],
      ...["ExitOnForwardFailure yes", "ControlMaster auto", "ControlPath ~/.ssh/own-%C", "ControlPersist 60"],
    ];
    writeFileSync(hosts.at("home-source/.ssh/config"), `${lines.join("\n")}\n`, { mode: 0o600 });
    const vm = makeSmallVm(hosts.at("web1"));
    const store = hosts.at("home-mover/vms");
    const send = hosts.migrate(["send", vm.folder, `ssh://box${store}`, "--json"]);
    await done(send);
    expectArrived(vm, store);
    expect(said(send)).toContain(`box receives in ${store}, as mover`);
    expect(readFileSync(join(hosts.sourceHome, "trust"), "utf8")).toContain(
      ` destination ssh://box${store} #`,
    );
    await hosts.waitUntilQuiet();
    expect(readdirSync(hosts.at("home-source/.ssh")).filter((name) => name.startsWith("own-"))).toEqual([]);
  },
  limitMs,
);

test(
  "a serve that runs there is used, with the store that it has, and goes on",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const store = hosts.at("kept");
    const serve = runMigrate(["serve", "--store", store, "--listen", "10.77.0.2:7611", "--json"], {
      home: "/var/lib/migrate",
      binary: [...hosts.enter("destination"), "/usr/bin/env", "migrate"],
      env: { PATH: `${hosts.at("bin")}:${process.env.PATH}` },
    });
    await serve.waitFor("listening");
    for (const [name, via, way] of [
      ["web1", "direct", "directly, at port 7611"],
      ["web2", "ssh", "through ssh"],
    ] as const) {
      const vm = makeSmallVm(hosts.at(name), { seed: name.length });
      const send = hosts.migrate(["send", vm.folder, hosts.address("root"), "--via", via, "--json"]);
      await done(send);
      expectArrived(vm, store);
      expect(said(send)).toContain(`receives in ${store}, as root, by the serve that runs there`);
      expect(said(send)).toContain(`is reached ${way}`);
    }
    const status = hosts.migrate(["status", hosts.address("root"), "--json"]);
    expect((await status.exit).code).toBe(0);
    expect(hosts.processes("destination").map(({ pid }) => pid)).toEqual([serve.pid]);
    await serve.kill("SIGTERM");

    // The store that a person had it serve last is where the next one goes.
    const vm = makeSmallVm(hosts.at("web3"), { seed: 7 });
    const send = hosts.migrate(["send", vm.folder, hosts.address("root"), "--json"]);
    await done(send);
    expectArrived(vm, store);
    expect(said(send)).toContain("by a serve for this command alone");
    expect(JSON.parse(readFileSync(join(hosts.rootHome, "last-serve.json"), "utf8")).store).toBe(store);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "two stores are served at once, each by a serve of its own, and another port is taken where the usual one is",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const vms = ["web1", "web2"].map((name, seed) => makeSmallVm(hosts.at(name), { seed: seed + 1 }));
    const sends = vms.map((vm) =>
      hosts.migrate(["send", vm.folder, hosts.address("root", hosts.at(`store-${vm.name}`)), "--json"]),
    );
    await Promise.all(sends.map((send) => done(send)));
    for (const vm of vms) expectArrived(vm, hosts.at(`store-${vm.name}`));
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "profile --to measures at a host behind ssh, over its port",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const address = hosts.address("root", hosts.at("store"));
    const words = [
      "profile",
      "--to",
      address,
      "--ram",
      "1M",
      "--disk",
      "0",
      "--suites",
      "tls",
      "--runs",
      "1",
    ];
    const profile = hosts.migrate([...words, "--out", hosts.at("profile"), "--json"]);
    expect((await profile.exit).code, profile.stdout() + profile.stderr()).toBe(0);
    expect(existsSync(join(hosts.at("profile"), "samples.json"))).toBe(true);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "a host that was set up anew has another identity, which is taken on ssh's word, and said",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const address = hosts.address("root", hosts.at("store"));
    const send = async (name: string, seed: number) => {
      const sending = hosts.migrate([
        "send",
        makeSmallVm(hosts.at(name), { seed }).folder,
        address,
        "--json",
      ]);
      await done(sending);
      await hosts.waitUntilQuiet();
      return said(sending);
    };
    expect(await send("web1", 1)).not.toContain("another identity");
    rmSync(hosts.rootHome, { recursive: true });
    expect(await send("web2", 2)).toContain("has another identity than the last time, sha256:");
    expect(await send("web3", 3)).not.toContain("another identity");
  },
  limitMs,
);

test(
  "status and history ask the host behind ssh, and end the serve that was started for them",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const asked = ["status", hosts.address("root", hosts.at("store")), "--json"];
    const none = await failure(hosts.migrate(asked));
    expect(none).toMatchObject({ exit: 6, code: "store-unusable" });
    expect(none.message).toContain(`there is no folder ${hosts.at("store")}`);
    expect(existsSync(hosts.at("store"))).toBe(false);
    mkdirSync(hosts.at("store"));
    expect((await hosts.migrate(asked).exit).code).toBe(0);
    await hosts.waitUntilQuiet();
    const history = hosts.migrate(["history", hosts.address("root", hosts.at("store")), "--json"]);
    expect((await history.exit).code).toBe(0);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "a store that root may not use either is refused with what the other host says",
  async () => {
    const hosts = await makeHosts({ installed: true });
    mkdirSync(hosts.at("open"), { mode: 0o777 });
    await hosts.run("destination", ["chmod", "777", hosts.at("open")]);
    chownSync(hosts.at("open"), user.uid, user.uid);
    const vm = makeSmallVm(hosts.at("web1"));
    const told = await failure(
      hosts.migrate(["send", vm.folder, hosts.address("root", hosts.at("open")), "--json"]),
    );
    expect(told).toMatchObject({ exit: 6, code: "store-unusable" });
    expect(told.message).toContain("every user may rename what is in it");
  },
  limitMs,
);
