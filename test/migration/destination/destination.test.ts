import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ReleaseProof } from "../../../src/migration/operator/decide-at-destination.ts";
import { resolveSession } from "../../../src/migration/operator/resolve.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { until } from "../../support/system/until.ts";
import { emptyOffer, PlayedDestination, sealOf, session } from "./played-destination.ts";

let played: PlayedDestination;
beforeEach(() => {
  played = new PlayedDestination();
});
afterEach(() => played.close());

const seal = sealOf(emptyOffer);
const noLane = "0".repeat(32);
const main = join(import.meta.dir, "../../../src/main.ts");
const says = (word: "cancel" | "source" | "destination", proof: ReleaseProof = "without-code") =>
  resolveSession(
    {
      home: played.home,
      session,
      decision: word,
      ...(word === "destination" ? { proof } : {}),
      insecure: true,
      passphrase: async () => "",
      retryForMs: 0,
      signal: new AbortController().signal,
    },
    () => {},
  );

describe("a session at the destination", () => {
  // [HELLO-5] [OWN-5]
  test("answers requests in their order, however fast they come, and each again", async () => {
    const visit = await played.visit(1);
    visit.say("offer", emptyOffer).say("seal", seal).say("seal", seal).say("release", {}).say("release", {});
    visit.say("confirm", {}).say("confirm", {}).say("cancel", {});
    expect(await visit.hearNames(8)).toEqual([
      "accept",
      "ready",
      "ready",
      "owned",
      "owned",
      "closed",
      "closed",
      "owned",
    ]);
    expect(played.record).toMatchObject({ state: "closed", settled: true });
    expect(existsSync(join(played.store, "web1", "ram"))).toBe(true);
  });

  test("gets a name that another one asks for in the same moment only once", async () => {
    const other = "0b".repeat(16);
    const visits = [
      await played.visit(1),
      await played.visit(1, "sha256:other", other),
      await played.visit(1, "sha256:third", "0c".repeat(16)),
    ];
    for (const visit of visits) visit.say("offer", emptyOffer);
    const answers = await Promise.all(visits.map((visit) => visit.hearNames(1)));
    expect(answers.flat().sort()).toEqual(["accept", "error name-taken", "error name-taken"]);
    expect(played.journal.openIn(played.store)).toHaveLength(1);
    // Nothing is left of those that came too late, and they may come again with another name.
    expect(readdirSync(played.store)).toHaveLength(1);
    const again = await played.visit(2, "sha256:other", other);
    expect(await again.say("offer", { ...emptyOffer, name: "web2" }).hearNames(1)).toEqual(["accept"]);
  });

  // [OWN-3]
  test("owns nothing that is not ready", async () => {
    const visit = await played.visit(1);
    visit.say("offer", emptyOffer).say("release", {});
    expect(await visit.hearNames(2)).toEqual(["accept", "error in-doubt"]);
    expect(played.record?.state).toBe("receiving");
  });

  // [OWN-10]
  test.each([
    ["removed", (ram: string) => rmSync(ram)],
    [
      "replaced",
      (ram: string) => {
        renameSync(ram, `${ram}.aside`);
        writeFileSync(ram, "");
      },
    ],
  ])("is given back if its files are %s before it has its final name", async (_, disturb) => {
    for (const moment of ["ready", "owner"]) {
      const staged = () => join(played.store, `.migrate-${session}`, "ram");
      const visit = await played.visit(1);
      await visit.say("offer", emptyOffer).say("seal", seal).hearNames(2);
      const written: string[] = [];
      played.beforeWrite = (label) => {
        written.push(label);
        if (label === moment) disturb(staged());
      };
      if (moment === "ready") disturb(staged());
      expect(await visit.say("release", {}).hearNames(1), moment).toEqual(["cancelled"]);
      // What is gone by then is never claimed, not for a moment.
      expect(written.includes("owner"), moment).toBe(moment === "owner");
      expect(played.record, moment).toMatchObject({ state: "cancelled" });
      expect(readdirSync(played.store), moment).toEqual([]);
      played.close();
      played = new PlayedDestination();
    }
  });

  // [HELLO-1]
  test("does not exist for another peer", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).hearNames(1);
    // It receives the same answer as for a session that nobody has.
    for (const [request, answer] of [
      ["cancel", "cancelled"],
      ["release", "error unknown-session"],
    ] as const) {
      const other = await played.visit(2, "sha256:other");
      expect(await other.say(request, {}).hearNames(1)).toEqual([answer]);
    }
    const asking = await played.visit(3, "sha256:other");
    asking.say("query", { session });
    expect((await asking.hear()).body).toEqual({ session, state: "unknown" });
    expect(played.record?.state).toBe("receiving");
    // The existing VM is still there.
    expect(await visit.say("cancel", {}).hearNames(1)).toEqual(["cancelled"]);
  });
});

describe("of two connections of a session", () => {
  // [HELLO-3]
  test("the newer speaks, and what comes late on the older is not obeyed", async () => {
    const old = await played.visit(1);
    const late = await played.visit(2);
    await old.say("offer", emptyOffer).hearNames(1);
    const newer = await played.visit(3);
    newer.say("offer", emptyOffer).say("seal", seal);
    expect(await newer.hearNames(3)).toEqual(["accept", "inventoryEnd", "ready"]);
    expect(old.closed).toBe(true);
    old.say("cancel", {});
    expect(await late.say("offer", emptyOffer).hearNames(1)).toEqual(["error busy"]);
    expect(played.record).toMatchObject({ state: "ready", attempt: 3 });
    expect(await newer.say("release", {}).hearNames(1)).toEqual(["owned"]);
  });

  // [HELLO-3]
  test("the older speaks no more even where the newer left no record", async () => {
    const late = await played.visit(1);
    const newer = await played.visit(2);
    expect(await newer.say("cancel", {}).hearNames(1)).toEqual(["cancelled"]);
    newer.end();
    expect(await late.say("offer", emptyOffer).hearNames(1)).toEqual(["error busy"]);
    expect(played.record).toBeNull();
    expect(readdirSync(played.store)).toEqual([]);
  });

  // [HELLO-3]
  test("one of the same attempt is not newer", async () => {
    const first = await played.visit(1);
    await first.say("offer", emptyOffer).hearNames(1);
    const second = await played.visit(1);
    expect(await second.say("cancel", {}).hearNames(1)).toEqual(["error busy"]);
    expect(played.record?.state).toBe("receiving");
  });
});

describe("a lane", () => {
  // [HELLO-4]
  test("is let in by the last ACCEPT's token alone, until SEAL or the end of the link", async () => {
    const first = await played.visit(1);
    first.say("offer", emptyOffer);
    const { laneToken: old } = (await first.hear()).body as MessageBody<"accept">;
    expect(played.lane(old).grant).toMatchObject({ session });
    expect(played.lane(old, "sha256:other").grant).toBeUndefined();
    expect(played.lane(noLane).grant).toBeUndefined();
    const second = await played.visit(2);
    second.say("offer", emptyOffer);
    const { laneToken } = (await second.hear()).body as MessageBody<"accept">;
    expect(laneToken).not.toBe(old);
    expect(played.lane(old).grant).toBeUndefined();
    expect(played.lane(laneToken).grant).toBeDefined();
    await second.hearNames(1);
    await second.say("seal", seal).hearNames(1);
    expect(played.lane(laneToken).grant).toBeUndefined();
    const third = await played.visit(3);
    third.say("offer", emptyOffer);
    const { laneToken: last } = (await third.hear()).body as MessageBody<"accept">;
    third.end();
    await (await played.visit(4)).say("query", { session }).hearNames(1);
    expect(played.lane(last).grant).toBeUndefined();
  });
});

describe("a person's word in the middle of a request", () => {
  /**
   * Another process decides just before the destination writes `label`, so that its own decision is out of
   * date.
   */
  const before = (label: string, ...decision: string[]) => {
    const said = Promise.withResolvers<void>();
    played.beforeWrite = (written) => {
      if (written !== label) return;
      played.beforeWrite = () => {};
      const { exitCode, stderr } = Bun.spawnSync(
        [process.execPath, main, "resolve", session, "--insecure", ...decision],
        { env: { ...process.env, MIGRATE_HOME: played.home }, stderr: "pipe" },
      );
      if (exitCode === 0) said.resolve();
      else said.reject(new Error(stderr.toString()));
    };
    return said.promise;
  };

  // [OWN-7]
  test("that gives the session up is not written over by READY", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).hearNames(1);
    const said = before("ready", "--cancel");
    visit.say("seal", seal);
    await said;
    expect(await visit.hearNames(1)).toEqual(["error cancelled"]);
    expect(played.record?.state).toBe("cancelled");
    const next = await played.visit(2);
    next.say("offer", emptyOffer);
    expect((await next.hear()).body).toMatchObject({ state: "cancelled" });
    expect(readdirSync(played.store)).toEqual([]);
  });

  test("with a code is told that there is none, if the source began without one", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).say("seal", seal).hearNames(2);
    const said = says("destination", { code: "0123-4567-89ab-cdef-0123" });
    expect(await said.catch((thrown) => thrown)).toMatchObject({
      code: "policy",
      message: expect.stringContaining("without a code"),
      hint: expect.stringContaining("--without-code"),
    });
    expect(played.record?.state).toBe("ready");
  });

  // [OWN-7]
  test("that gives the VM to the destination stands against a new OFFER", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).say("seal", seal).hearNames(2);
    const next = await played.visit(2);
    const said = before("receiving", "--owner", "destination", "--without-code");
    next.say("offer", emptyOffer);
    await said;
    expect(await next.hearNames(1)).toEqual(["error in-doubt"]);
    expect(played.record).toMatchObject({ state: "owner", settled: true });
  });

  // [OWN-7]
  test("that gives the VM back to the source stands against RELEASE", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", emptyOffer).say("seal", seal).hearNames(2);
    const said = before("owner", "--owner", "source");
    visit.say("release", {});
    await said;
    expect(await visit.hearNames(1)).toEqual(["error cancelled"]);
    expect(played.record?.state).toBe("cancelled");
    expect(existsSync(join(played.store, "web1"))).toBe(false);
  });
});

describe("a copy", () => {
  const copy = { ...emptyOffer, mode: "copy" as const };

  test("that was published before it was given up is told as published, and can be closed", async () => {
    const visit = await played.visit(1);
    visit.say("offer", copy).say("seal", seal).say("publish", {}).say("cancel", {}).say("confirm", {});
    expect(await visit.hearNames(5)).toEqual(["accept", "ready", "published", "published", "closed"]);
  });

  test("has no owner that a person could name", async () => {
    const visit = await played.visit(1);
    await visit.say("offer", copy).say("seal", seal).hearNames(2);
    expect(await says("destination").catch((error) => error.code)).toBe("policy");
    await says("cancel");
    expect(played.record?.state).toBe("cancelled");
  });
});

describe("a journal that another program keeps locked", () => {
  test.each(["seal", "release", "confirm"] as const)(
    "is waited for at %s, and that is said",
    async (request) => {
      const visit = await played.visit(1);
      visit.say("offer", emptyOffer);
      const before = { seal: 1, release: 2, confirm: 3 }[request];
      if (request !== "seal") visit.say("seal", seal);
      if (request === "confirm") visit.say("release", {});
      await visit.hearNames(before);
      const other = new Database(join(played.home, "journal.sqlite"));
      other.run("BEGIN IMMEDIATE");
      visit.say(request as "seal", (request === "seal" ? seal : {}) as typeof seal);
      await until(
        () => played.warnings.some((said) => said.includes("keeps the journal locked")),
        "a warning",
      );
      // Others are answered meanwhile.
      const asking = await played.visit(2);
      expect(await asking.say("query", { session }).hearNames(1)).toEqual(["state"]);
      other.run("COMMIT");
      other.close();
      expect(await visit.hearNames(1)).toEqual([
        { seal: "ready", release: "owned", confirm: "closed" }[request],
      ]);
    },
  );
});
