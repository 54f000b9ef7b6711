/**
 * A folder for the sockets of one command: nobody else enters it, and it is gone with the command, however that ends. A
 * small shell waits for the end of a pipe and removes it then: who is killed removes nothing.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MigrateError } from "../protocol/errors.ts";

/** ssh makes the control socket under a longer name first, 17 characters more (unix(7): 107 bytes in all). */
const mostPathBytes = 80;

/** ssh expands %, ~ and $ in the path of a control socket (ssh_config(5), TOKENS), and a forwarding ends at a colon. */
const plain = /^\/[\w.,+@/-]*$/;

export class PrivateFolder {
  readonly path: string;
  readonly #broom: Bun.Subprocess<"pipe", "ignore", "ignore">;

  private constructor(path: string, broom: Bun.Subprocess<"pipe", "ignore", "ignore">) {
    this.path = path;
    this.#broom = broom;
  }

  /** Makes one, mode 0700, in the first of the usual places that takes it. Throws MigrateError "policy". */
  static make(env: Readonly<Record<string, string | undefined>> = process.env): PrivateFolder {
    const path = made([env.XDG_RUNTIME_DIR, tmpdir(), "/tmp"]);
    // What ends this program from its terminal leaves the shell alone: it ends a moment later.
    const script = 'trap "" INT QUIT TERM HUP; cat >/dev/null; rm -rf -- "$1"';
    const broom = Bun.spawn(["/bin/sh", "-c", script, "sh", path], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
      cwd: "/",
    });
    broom.unref();
    return new PrivateFolder(path, broom);
  }

  /** Removes it; resolves when that is done. */
  async close(): Promise<void> {
    await this.#broom.stdin.end();
    await this.#broom.exited;
    rmSync(this.path, { recursive: true, force: true });
  }
}

function made(places: readonly (string | undefined)[]): string {
  let failure: unknown;
  for (const place of places) {
    if (place === undefined || !plain.test(place) || Buffer.byteLength(place) > mostPathBytes - 20) continue;
    try {
      return mkdtempSync(join(place, "migrate-ssh-"));
    } catch (thrown) {
      failure = thrown;
    }
  }
  throw new MigrateError("policy", "there is no folder here for the sockets of an ssh", {
    side: "source",
    hint: "Set TMPDIR to a folder that this user may write, with a path of at most 60 bytes.",
    cause: failure,
  });
}
