/** `migrate ssh-child`: the program that it becomes has the user's environment, leaves Ctrl-C alone and ends with its parent. */
import { afterEach, expect, test } from "bun:test";
import { killChildren, startChild } from "../support/system/child.ts";
import { builtBinary } from "../support/system/process.ts";
import { until } from "../support/system/until.ts";

afterEach(killChildren);

const isThere = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("it ignores SIGINT and SIGQUIT, and has the whole environment", async () => {
  const script = 'kill -INT $$; kill -QUIT $$; echo "alive $SSH_AUTH_SOCK"';
  const child = startChild([builtBinary, "ssh-child", String(process.pid), "--", "/bin/sh", "-c", script], {
    env: { ...process.env, SSH_AUTH_SOCK: "/run/agent" },
  });
  expect(await child.exit).toEqual({ code: 0, signal: null });
  expect(child.stdout()).toBe("alive /run/agent\n");
});

test("it ends by other signals", async () => {
  const script = "kill -TERM $$; echo alive";
  const child = startChild([builtBinary, "ssh-child", String(process.pid), "--", "/bin/sh", "-c", script]);
  expect((await child.exit).signal).toBe("SIGTERM");
});

test("it becomes nothing if whoever started it has ended meanwhile", async () => {
  const child = startChild([builtBinary, "ssh-child", "1", "--", "/bin/echo", "alive"]);
  expect((await child.exit).code).toBe(0);
  expect(child.stdout()).toBe("");
});

test("it ends when whoever started it is killed", async () => {
  const code = `
    const argv = [${JSON.stringify(builtBinary)}, "ssh-child", String(process.pid), "--", "/bin/sleep", "1000"];
    console.log(Bun.spawn(argv, { stdin: "ignore", stdout: "ignore", stderr: "ignore" }).pid);
    setInterval(() => {}, 1000);
  `;
  const parent = startChild([process.execPath, "-e", code]);
  await until(() => parent.stdout().includes("\n"), "its start");
  const pid = Number(parent.stdout());
  await until(async () => (await Bun.file(`/proc/${pid}/cmdline`).text()).startsWith("/bin/sleep"), "sleep");
  await parent.kill("SIGKILL");
  await until(() => !isThere(pid) || isZombie(pid), "its end");
});

/** Ended, and waited for by nobody yet (proc(5), stat). */
function isZombie(pid: number): boolean {
  const stat = Bun.spawnSync(["cat", `/proc/${pid}/stat`]).stdout.toString();
  return stat === "" || /\) Z /.test(stat);
}
