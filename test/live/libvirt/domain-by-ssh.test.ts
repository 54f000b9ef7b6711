/** A domain of libvirt that moves by ssh, as it runs: from a host to one on which nobody serves. */
import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { definedDomain } from "../../support/libvirt/defined-domain.ts";
import { movingHosts } from "../../support/libvirt/moving-hosts.ts";
import { definitionsOf, expectSameDomain } from "../../support/libvirt/same-domain.ts";
import { doneOf } from "../../support/moves/whole-move.ts";
import { failure, said } from "../../support/ssh/ssh-hosts-of-tests.ts";
import { killChildren, runChild, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { builtBinary, runMigrate } from "../../support/system/process.ts";

const hosts = movingHosts({}, "hosta", "hostb");
const limitMs = 120_000;
const folders: string[] = [];

afterEach(async () => {
  await killChildren();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A port that is free now. */
function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  probe.stop(true);
  return probe.port;
}

test(
  "a domain goes through ssh to a host's libvirt, and explain asks there before",
  async () => {
    const [a, b] = hosts.all();
    const folder = mkdtempSync(join(tmpdir(), "ssh-"));
    folders.push(folder);
    const port = freePort();
    for (const path of ["root/.ssh", "bin"]) mkdirSync(join(folder, path), { recursive: true, mode: 0o700 });
    symlinkSync(builtBinary, join(folder, "bin/migrate"));
    for (const key of ["host-key", "root/.ssh/id_ed25519"])
      await runChild(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(folder, key)]);
    const [kind, hostKey] = readFileSync(join(folder, "host-key.pub"), "utf8").split(" ");
    writeFileSync(join(folder, "root/.ssh/known_hosts"), `[127.0.0.1]:${port} ${kind} ${hostKey}\n`);
    const accounts = readFileSync("/etc/passwd", "utf8").replace(
      /^(root:.*):[^:]*:([^:]*)$/m,
      `$1:${folder}/root:$2`,
    );
    writeFileSync(join(folder, "passwd"), accounts);
    const lines = [
      ...[`Port ${port}`, "ListenAddress 127.0.0.1", `HostKey ${folder}/host-key`, "PidFile none"],
      ...[`AuthorizedKeysFile ${folder}/root/.ssh/id_ed25519.pub`, "StrictModes no", "UsePAM no"],
      ...["PermitRootLogin yes", "LogLevel VERBOSE"],
      `SetEnv PATH=${folder}/bin:/usr/bin:/bin:/usr/sbin:/sbin MIGRATE_HOME=${b.home}`,
    ];
    writeFileSync(join(folder, "sshd_config"), `${lines.join("\n")}\n`);
    const up = Promise.withResolvers<void>();
    const start = `mkdir -p /run/sshd; exec /usr/sbin/sshd -D -e -f ${folder}/sshd_config`;
    const sshd = startChild(b.libvirt.command(["sh", "-c", start]), {
      onStderr: (text) => {
        if (text.includes("Server listening")) up.resolve();
      },
    });
    void sshd.exit.then(() => up.reject(new Error(`sshd ended: ${sshd.stderr()}`)));
    await withDeadline(up.promise, 10_000, "sshd");

    const asRoot = `mount --bind ${folder}/passwd /etc/passwd && exec "$@"`;
    const migrate = (words: string[]) =>
      runMigrate([...words, "--json"], {
        home: a.home,
        binary: a.libvirt.command(["unshare", "--mount", "sh", "-c", asRoot, "sh", builtBinary]),
        env: { SSH_AUTH_SOCK: undefined },
      });
    const name = "web-ssh";
    const here = await definedDomain(a.libvirt, { name });
    await here.start();
    await here.waitForTick(3);
    const before = await definitionsOf(a.libvirt, name);
    const address = `ssh://root@127.0.0.1:${port}${b.store}`;

    const explain = migrate(["explain", `libvirt:${name}`, address]);
    expect((await explain.exit).code, explain.stdout() + explain.stderr()).toBe(0);
    expect(explain.stdout()).toContain("takes the VM as it is now");

    const send = migrate(["send", `libvirt:${name}`, address, "--via", "ssh"]);
    await doneOf(send);
    expect(said(send)).toContain(`receives in ${b.store}, as root, by a serve for this command alone`);
    await here.at(b.libvirt).waitForTicks(3);
    await expectSameDomain(before, b.libvirt, name);
    expect((await a.libvirt.tryVirsh("domstate", name)).code).toBe(1);
    const gone = await failure(migrate(["send", `libvirt:${name}`, address]));
    expect(gone.message).toContain(address);
  },
  limitMs,
);
