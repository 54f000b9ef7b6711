import { describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { World } from "../../../src/commands/cli/context.ts";
import { hasTicket, ticketFrom } from "../../../src/commands/cli/ticket-input.ts";

const given = (ticket?: string, ticketFile?: string) => ({ ticket, ticketFile });
const worldWith = (stdin: PassThrough) => ({ stdin }) as unknown as World;
const nobody = worldWith(new PassThrough());

describe("a ticket", () => {
  test("is the word of the command line, or none", async () => {
    expect(await ticketFrom(nobody, given("mig1-x"))).toBe("mig1-x");
    expect(await ticketFrom(nobody, given())).toBeUndefined();
    expect([hasTicket(given()), hasTicket(given("-")), hasTicket(given(undefined, "f"))]).toEqual([
      false,
      true,
      true,
    ]);
  });

  test("comes from standard input for -, whether or not that ends", async () => {
    const ends = new PassThrough();
    ends.end("mig1-piped");
    expect(await ticketFrom(worldWith(ends), given("-"))).toBe("mig1-piped");
    const stays = new PassThrough();
    stays.write("mig1-line\n");
    expect((await ticketFrom(worldWith(stays), given("-")))?.trim()).toBe("mig1-line");
  });

  test("is not waited for in a stream that never ends and holds none", async () => {
    const endless = new PassThrough();
    endless.write("x".repeat(5000));
    expect((await ticketFrom(worldWith(endless), given("-")))?.length).toBeLessThanOrEqual(5000);
  });

  test("comes from a file that is this user's alone", async () => {
    const folder = mkdtempSync(join(tmpdir(), "migrate-ticket-"));
    try {
      const path = join(folder, "ticket");
      writeFileSync(path, "mig1-filed\n", { mode: 0o600 });
      expect(await ticketFrom(nobody, given(undefined, path))).toBe("mig1-filed");
      chmodSync(path, 0o644);
      await expect(ticketFrom(nobody, given(undefined, path))).rejects.toThrow("can be read by others");
      await expect(ticketFrom(nobody, given(undefined, join(folder, "none")))).rejects.toThrow(
        "cannot be read",
      );
      await expect(ticketFrom(nobody, given("mig1-x", path))).rejects.toThrow("exclude each other");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
