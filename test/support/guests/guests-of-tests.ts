/** Guests for the tests of a file, and their folders; nothing of them outlives the test. */
import { afterEach, beforeAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { killChildren } from "../system/child.ts";
import { guestImage } from "./guest-image.ts";

/** The first run downloads and builds the guest, which is not what a test's time limit is for. */
export function guestIsBuiltFirst(): void {
  beforeAll(async () => {
    await guestImage();
  }, 300_000);
}

export interface GuestsOfTests<G> {
  /** A new, empty folder. */
  folder(): string;
  /** Has this guest killed after the test; gives it. */
  keep(guest: G): G;
}

/** Kills the guests of each test after it, then all its child processes, and removes its folders. */
export function guestsOfTests<G extends { kill(): Promise<void> }>(): GuestsOfTests<G> {
  const folders: string[] = [];
  const guests: G[] = [];
  guestIsBuiltFirst();
  afterEach(async () => {
    await Promise.all(guests.splice(0).map((guest) => guest.kill()));
    await killChildren();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });
  return {
    folder() {
      const folder = mkdtempSync(join(tmpdir(), "guests-"));
      folders.push(folder);
      return folder;
    },
    keep(guest) {
      guests.push(guest);
      return guest;
    },
  };
}
