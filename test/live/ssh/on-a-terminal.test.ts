/** On a terminal ssh asks what it always asks, by itself, the first time; and a Ctrl-C there is migrate's to take. */
import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import type { SshHosts } from "../../support/ssh/ssh-hosts.ts";
import { expectArrived, sshHostsOfEachTest } from "../../support/ssh/ssh-hosts-of-tests.ts";
import { builtBinary } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";

const makeHosts = sshHostsOfEachTest();
const limitMs = 120_000;
const terminals: Bun.Subprocess[] = [];
const mebibyte = 1024 ** 2;

afterEach(async () => {
  for (const terminal of terminals.splice(0)) {
    terminal.kill("SIGKILL");
    await terminal.exited;
  }
});

/** A command on a terminal of its own (script(1)): what is typed there, and what has been written there. */
function onTerminal(hosts: SshHosts, words: string[]) {
  const command = [builtBinary, ...words].map((word) => `'${word}'`).join(" ");
  const child = Bun.spawn([...hosts.enter("source"), "script", "-qfec", command, "/dev/null"], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
    env: {
      ...process.env,
      MIGRATE_HOME: hosts.sourceHome,
      TMPDIR: hosts.at("tmp"),
      TERM: "xterm",
      SSH_AUTH_SOCK: undefined,
    },
  });
  terminals.push(child);
  let text = "";
  const read = (async () => {
    const decoder = new TextDecoder();
    for await (const piece of child.stdout) text += decoder.decode(piece, { stream: true });
  })();
  return {
    text: () => text,
    type(keys: string) {
      child.stdin.write(keys);
      void child.stdin.flush();
    },
    ended: async () => {
      await read;
      return await child.exited;
    },
    shows: (part: string) => until(() => text.includes(part), `"${part}" on the terminal: ${text}`, 60_000),
  };
}

test(
  "ssh asks whether the host's key is the right one, and what it is told counts",
  async () => {
    const hosts = await makeHosts({ installed: true });
    hosts.know("");
    const known = () => readFileSync(hosts.at("home-source/.ssh/known_hosts"), "utf8");
    const vm = makeSmallVm(hosts.at("web1"));
    const words = ["send", vm.folder, hosts.address("root", hosts.at("store"))];

    const refused = onTerminal(hosts, words);
    await refused.shows("Are you sure you want to continue connecting");
    refused.type("no\n");
    expect(await refused.ended()).toBe(3);
    expect(known()).toBe("");

    const terminal = onTerminal(hosts, words);
    await terminal.shows("Are you sure you want to continue connecting");
    terminal.type("yes\n");
    expect(await terminal.ended()).toBe(0);
    expectArrived(vm, hosts.at("store"));
    const [kind, key] = readFileSync(hosts.at("host-key.pub"), "utf8").split(" ");
    expect(known()).toContain(`${kind} ${key}`);
  },
  limitMs,
);

test(
  "a Ctrl-C in the middle ends in good order: ssh is there to the last, and then gone",
  async () => {
    const hosts = await makeHosts({ installed: true });
    const bytes = 24 * mebibyte;
    const vm = makeSmallVm(hosts.at("web1"), { disks: [{ bytes, extents: [{ at: 0, bytes }] }] });
    const address = hosts.address("root", hosts.at("store"));
    const slow = ["--bandwidth", "4M", "--compress", "off", "--via", "ssh"];
    const terminal = onTerminal(hosts, ["send", vm.folder, address, ...slow]);
    await terminal.shows("through ssh");
    await terminal.shows("stop-and-copy");
    terminal.type("\u0003");
    await terminal.shows("Interrupted: ending in good order");
    expect(await terminal.ended()).toBe(130);
    expect(terminal.text()).not.toContain("lost");
    await until(() => hosts.processes("source").length === 0, "an end of ssh");
  },
  limitMs,
);
