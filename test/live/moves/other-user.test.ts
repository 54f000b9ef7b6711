/** A VM whose QEMU runs as another user, moved by root: nothing of it needs root, and nobody else gets in. */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { chmodSync, closeSync, existsSync, lstatSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { makeSocketFolder, socketPlace } from "../../../src/migration/providers/streaming/socket-place.ts";
import { callUnixSocket } from "../../../src/platform/peer-process.ts";
import { UnixListener } from "../../../src/platform/unix-listener.ts";
import { withRightsOf } from "../../../src/platform/user-rights.ts";
import type { RunningGuest } from "../../support/guests/running-guest.ts";
import { sessionsIn } from "../../support/moves/ownership.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectGapless, expectMoved } from "../../support/moves/whole-move.ts";

/** Of the user and the group nobody. */
const nobody = 65_534;

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

/** A guest of nobody's, with what `become` is before QEMU's command and `extraArgs` behind it. */
async function guestOfNobody(become: string, extraArgs: string[] = []): Promise<RunningGuest> {
  chmodSync(at.folder, 0o711);
  const folder = join(at.folder, "web1");
  const enter = ["sh", "-c", `chown -R ${nobody}:${nobody} '${folder}' && exec ${become} "$@"`, "sh"];
  const guest = await at.guest({ enter, extraArgs, copyKernel: true });
  await guest.waitForTick(3);
  return guest;
}

const ways: [string, string, string[], string[]][] = [
  ["as that user", `setpriv --reuid ${nobody} --regid ${nobody} --clear-groups`, [], []],
  ["as root, which it gave up", "", ["-runas", "nobody"], ["--mode", "stop"]],
];

test.each(ways)("a QEMU that was started %s is moved", async (_, become, extraArgs, flags) => {
  const guest = await guestOfNobody(become, extraArgs);
  expect(lstatSync(`/proc/${guest.pid}`).uid).toBe(nobody);
  await at.serve();
  await doneOf(at.send(guest, flags));
  const arrived = await expectMoved(at, guest);
  await arrived.waitForTick(guest.ticks().length + 3);
  expectGapless(guest, arrived);
  const [session] = sessionsIn(at.hosts.sourceHome, "source");
  expect(existsSync(socketPlace("", session!.session, nobody).folder)).toBe(false);
});

test("the sockets of such a move let that user in, and nobody else", async () => {
  const place = socketPlace("", randomBytes(16).toString("hex"), nobody);
  makeSocketFolder(place);
  const listener = UnixListener.listen(join(place.folder, "ram"), nobody);
  const connect = (uid: number) => {
    const fd = withRightsOf({ uid, gid: uid, groups: [] }, () => callUnixSocket(listener.path));
    closeSync(fd);
  };
  connect(nobody);
  expect(() => connect(1)).toThrow(expect.objectContaining({ code: "EACCES" }));
  listener.close();
  rmdirSync(place.folder);
});
