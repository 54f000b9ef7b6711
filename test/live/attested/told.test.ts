/** What a person is told afterwards of what was proven: history and status, and the trust file's word for it. */
import { expect, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SessionRow } from "../../../src/migration/operator/status.ts";
import { type ProvenHost, startProvenHost } from "../../support/attestation/proven-host.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { tpm2 } from "../../support/tpm/chip.ts";

let folder: string;
let host: ProvenHost;
eachTestInFolder("attest-told-", async (made) => {
  folder = made;
  host = await startProvenHost(folder);
});
const limitMs = 60_000;

const send = async (name: string, ...words: string[]) => {
  const vm = makeSmallVm(join(folder, name), { seed: name.length });
  const sending = host.migrate("source", "send", vm.folder, host.address, ...words, "--json");
  const { code } = await sending.exit;
  return {
    code,
    error: sending.events.find(({ event }) => event === "error") as
      | { code?: string; message?: string }
      | undefined,
  };
};

async function rows(side: "source" | "destination"): Promise<(SessionRow & { event: string })[]> {
  const history = host.migrate(side, "history", "--json");
  expect((await history.exit).code).toBe(0);
  return history.events as never;
}

test(
  "history has what was proven in a session, with the evidence, where something was",
  async () => {
    expect(await send("web1")).toMatchObject({ code: 0 });
    const plain = host.migrate("source", "history");
    await plain.exit;
    expect(plain.stdout()).not.toContain("PROVEN");

    expect(await send("web2", "--attest")).toMatchObject({ code: 0 });
    const [proven, unproven] = await rows("source");
    expect(unproven).toMatchObject({ name: "web1" });
    expect(unproven!.proofs).toBeUndefined();
    expect(proven!.proofs).toEqual([
      {
        role: "destination",
        peer: host.fingerprint,
        moment: "release",
        policyVersion: 1,
        allowed: true,
        file: expect.any(String),
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
        atMs: expect.any(Number),
      },
    ]);
    const { file } = proven!.proofs![0]!;
    expect((await host.migrate("source", "attest", "check", file).exit).code).toBe(0);
    // The source has proven nothing to the destination.
    expect((await rows("destination")).every(({ proofs }) => proofs === undefined)).toBe(true);

    const shown = host.migrate("source", "history");
    await shown.exit;
    const [head, first, second] = shown.stdout().trim().split("\n");
    expect(head).toContain("PROVEN");
    expect(first).toMatch(/web2 .* yes /);
    expect(second).toMatch(/web1 .* - /);
  },
  limitMs,
);

test(
  "attest=required in the trust file is as good as --attest, for each move to that host",
  async () => {
    const words = [host.fingerprint, host.address, "--role", "destination", "--attest", "required"];
    expect((await host.migrate("source", "trust", "add", ...words).exit).code).toBe(0);
    expect(await send("web1")).toMatchObject({ code: 0 });
    expect((await rows("source"))[0]!.proofs).toMatchObject([{ moment: "release", allowed: true }]);

    await tpm2(host.chip, folder, "pcrextend", `7:sha256=${"ab".repeat(32)}`);
    expect(await send("web2")).toMatchObject({ code: 3, error: { code: "attestation" } });
    expect(existsSync(join(host.store, "web2"))).toBe(false);
  },
  limitMs,
);

test(
  "a host that was set up anew, and is paired with again, has to be recorded again",
  async () => {
    const words = [host.fingerprint, host.address, "--role", "destination", "--attest", "required"];
    expect((await host.migrate("source", "trust", "add", ...words).exit).code).toBe(0);
    await host.serve.kill();
    rmSync(join(folder, "destination"), { recursive: true });
    const serving = ["serve", "--attest", "--listen", host.address, "--store", host.store, "--json"];
    const { ticket = "" } = await host.migrate("destination", ...serving).waitFor("listening");
    const ticketFile = join(folder, "new-ticket");
    writeFileSync(ticketFile, ticket, { mode: 0o600 });
    const sent = await send("web1", "--ticket-file", ticketFile);
    expect(sent).toMatchObject({ code: 3, error: { code: "attestation" } });
    expect(sent.error!.message).toContain("has no policy for");
    expect(existsSync(join(host.store, "web1"))).toBe(false);
  },
  limitMs,
);

test(
  "status has what was proven in a session that is under way",
  async () => {
    const vm = makeSmallVm(join(folder, "web1"));
    const words = [vm.folder, host.address, "--attest", "--bandwidth", "64K", "--json"];
    const send = host.migrate("source", "send", ...words);
    await send.waitFor("phase", { where: ({ phase }) => phase === "stop-and-copy" });
    await send.kill();
    const status = host.migrate("source", "status", "--json");
    await status.exit;
    expect(status.events).toMatchObject([
      { event: "status", name: "web1", proofs: [{ moment: "offer", allowed: true }] },
    ]);
  },
  limitMs,
);
