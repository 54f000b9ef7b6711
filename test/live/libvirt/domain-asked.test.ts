/**
 * A domain's destination is asked beforehand: it says what it would refuse in the words that a send ends with, and nothing
 * of the question is left there. A domain that stood still for its move has its clock set by its agent.
 */
import { describe, expect, test } from "bun:test";
import { definedDomain } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import { moveDomain } from "../../support/libvirt/moved-domain.ts";
import { type MovingHost, movingHosts } from "../../support/libvirt/moving-hosts.ts";
import { sessionsIn } from "../../support/moves/ownership.ts";
import { failureOf } from "../../support/moves/whole-move.ts";
import { until } from "../../support/system/until.ts";

const hosts = movingHosts({ qemuConf: asTheirUsers }, "hosta", "hostb");
const limitMs = 120_000;

interface Explained {
  refused: string[];
  notes: string[];
  there?: Record<string, unknown>;
  code: number | null;
}

async function explained(
  from: MovingHost,
  name: string,
  to: MovingHost,
  ...flags: string[]
): Promise<Explained> {
  const explain = from.explain(name, to, ...flags);
  const said = (await explain.waitFor("explanation", { deadlineMs: 60_000 })) as unknown as Omit<
    Explained,
    "code"
  >;
  return { ...said, code: (await explain.exit).code };
}

/** The destination has no session, no file and no domain. */
async function expectNothingLeft(there: MovingHost): Promise<void> {
  expect(sessionsIn(there.home, "destination")).toEqual([]);
  expect((await there.libvirt.virsh("list", "--all", "--name")).trim()).toBe("");
  expect(there.inStore()).toEqual([]);
}

test(
  "one that is taken is told of with what it needs and what is there, and the source's own libvirt goes on as before",
  async () => {
    const [a, b] = hosts.all();
    const name = "asked";
    const here = await definedDomain(a.libvirt, { name });
    await here.start();
    await b.serve();
    for (const flags of [[], ["--mode", "stop"]]) {
      const { refused, code, there } = await explained(a, name, b, ...flags);
      expect({ refused, code }).toEqual({ refused: [], code: 0 });
      expect(there).toMatchObject({
        room: { neededBytes: expect.any(Number), freeBytes: expect.any(Number) },
        memory: { neededBytes: 128 * 2 ** 20, freeBytes: expect.any(Number) },
        processors: { needed: 1, there: expect.any(Number) },
        accelerator: "tcg",
        firmware: "qemu",
      });
      await expectNothingLeft(b);
    }
    expect(await a.libvirt.virsh("domstate", name)).toContain("running");
    expect(sessionsIn(a.home, "source")).toEqual([]);
  },
  limitMs,
);

describe("what it refuses it says as a send hears it:", () => {
  const rows: [string, (a: MovingHost, b: MovingHost, name: string) => Promise<unknown>, string][] = [
    [
      "a name that its libvirt has",
      async (_, b, name) => await definedDomain(b.libvirt, { name }),
      "the destination's libvirt has a domain of this name already",
    ],
    [
      "a UUID that its libvirt has",
      async (a, b, name) => {
        const uuid = (await a.libvirt.virsh("domuuid", name)).trim();
        await definedDomain(b.libvirt, { name: "other", uuid });
      },
      "the destination's libvirt has a domain of this UUID already",
    ],
  ];
  for (const [what, prepare, says] of rows) {
    test(
      what,
      async () => {
        const [a, b] = hosts.all();
        const name = "refused";
        const here = await definedDomain(a.libvirt, { name });
        await here.start();
        await prepare(a, b, name);
        await b.serve();
        const { refused, code } = await explained(a, name, b);
        expect(sessionsIn(b.home, "destination")).not.toContainEqual(expect.objectContaining({ name }));
        const failure = await failureOf(a.send(name, b));
        expect({ first: refused[0], code }).toEqual({ first: failure.message, code: failure.exitCode });
        expect(refused[0]).toBe(says);
        expect(await a.libvirt.virsh("domstate", name)).toContain("running");
      },
      limitMs,
    );
  }
});

test(
  "a domain that was saved for its move has the right time soon after it goes on",
  async () => {
    const [a, b] = hosts.all();
    const name = "late";
    const here = await definedDomain(a.libvirt, { name, append: "agent=1 random_mib=16" });
    await here.start();
    await here.waitForTick(3);
    const isConnected = async () => (await a.libvirt.virsh("dumpxml", name)).includes("state='connected'");
    await until(isConnected, "its agent", 60_000);
    await b.serve();
    await moveDomain({ from: a, to: b, name }, "--mode", "stop", "--bandwidth", "12M");
    const there = here.at(b.libvirt);
    const text = /agent set the time from (\d+) to (\d+)/;
    await until(() => text.test(there.text()), "its agent's word", 30_000);
    const [, was, is] = text.exec(there.text())!.map(Number);
    expect(is! - was!).toBeGreaterThanOrEqual(1);
  },
  limitMs,
);
