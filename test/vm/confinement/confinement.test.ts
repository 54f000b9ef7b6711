/** What of confinement this host and this user can have, and the command that comes of it. */
import { expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { argumentsOf, processId, waitForEnd } from "../../../src/platform/process-id.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import { Confinement } from "../../../src/vm/confinement/confinement.ts";
import { builtBinary } from "../../support/system/process.ts";
import { codeOf } from "../../support/system/refusals.ts";
import { until } from "../../support/system/until.ts";

const isRoot = process.getuid!() === 0;
const self = [builtBinary];
const place = { files: [], network: "none", cwd: "/", cgroups: [] } as const;

function printed(confinement: Confinement, user: ReturnType<Confinement["lease"]>, line: string): string {
  const child = Bun.spawnSync(confinement.command(["sh", "-c", line], { ...place, user }), {
    stdin: "ignore",
  });
  expect(child.stderr.toString()).toBe("");
  return child.stdout.toString().trim();
}

test("as root a VM has a user of its own; an ordinary user's VMs have none, and that is said", async () => {
  const confinement = await Confinement.find({ self });
  const user = confinement.lease([]);
  if (isRoot) {
    expect(user!.uid).toBeGreaterThanOrEqual(61_184);
    expect(printed(confinement, user, "id -u; id -g")).toBe(`${user!.uid}\n${user!.gid}`);
    expect(confinement.lacks.join()).not.toContain("VMs run as the user");
  } else {
    expect(user).toBeNull();
    expect(confinement.lacks[0]).toContain("VMs run as the user of migrate serve");
  }
  expect(printed(confinement, user, "ls /etc/passwd /proc/1 2>/dev/null; echo $$ >/dev/null")).toBe("");
});

test("with no users wanted, VMs run as who serves, without rights all the same", async () => {
  const confinement = await Confinement.find({ self, users: "off" });
  expect(confinement.lease([])).toBeNull();
  expect(confinement.lacks[0]).toContain("VMs run as the user of migrate serve");
  // Root without capabilities reads no file but root's own, and here it sees none of those.
  expect(
    printed(confinement, null, "cat /etc/shadow 2>/dev/null; kill -0 1 2>/dev/null && echo killed"),
  ).toBe("");
});

test("users that are asked for and cannot be had are no reason to go on without", async () => {
  if (!isRoot) {
    // Only root is asked to have them.
    expect((await Confinement.find({ self, users: { first: 5000, last: 6000 } })).lease([])).toBeNull();
    return;
  }
  const range = { first: 5_000_000, last: 5_000_001 };
  const leased = (await Confinement.find({ self, users: range })).lease([]);
  expect([5_000_000, 5_000_001]).toContain(leased!.uid);
  const broken = Confinement.find({ self: ["/bin/false"], users: range });
  const thrown: unknown = await broken.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(
    codeOf(() => {
      throw thrown;
    }),
  ).toBe("policy");
});

test("a program that its owner alone can run is refused where VMs have users: it keeps their serial lines", async () => {
  if (!isRoot) return;
  const folder = mkdtempSync(join(tmpdir(), "confinement-"));
  const path = join(folder, "migrate");
  try {
    copyFileSync(builtBinary, path);
    chmodSync(path, 0o700);
    const found = (users?: "off") =>
      Confinement.find({ self: [path], users }).then(
        () => null,
        (thrown: unknown) => thrown as MigrateError,
      );
    expect(await found()).toMatchObject({
      code: "policy",
      hint: expect.stringContaining(`chmod a+x ${path}`),
    });
    expect(await found("off")).toBeNull();
    chmodSync(path, 0o755);
    expect(await found()).toBeNull();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("what is only asked something ends with who started it, however that ends", async () => {
  for (const users of [undefined, "off"] as const) {
    const confinement = await Confinement.find({ self, users });
    const parent = Bun.spawn(
      ["sh", "-c", '"$@" & echo $!; exec cat', "sh", ...confinement.trial(["sleep", "1000"])],
      {
        stdin: "pipe",
        stdout: "pipe",
      },
    );
    const { value } = await parent.stdout.getReader().read();
    const child = processId(Number(new TextDecoder().decode(value)))!;
    const isAsleep = () => argumentsOf(child.pid)?.at(-1) === "1000" && argumentsOf(child.pid)?.length === 2;
    await until(isAsleep, "the program");
    parent.kill("SIGKILL");
    expect(await waitForEnd(child, 10_000)).toBe(true);
  }
});
