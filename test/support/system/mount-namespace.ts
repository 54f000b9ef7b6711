/**
 * A place with mounts of its own, which nobody else sees and which is gone with its holder
 * (mount_namespaces(7), unshare(1), nsenter(1)). As root, or as a user whom the kernel lets have a user
 * namespace.
 */
import { afterEach } from "bun:test";
import { type Child, killChildren, startChild } from "./child.ts";
import { withDeadline } from "./deadline.ts";

const isRoot = process.getuid?.() === 0;

export class MountNamespace {
  readonly #holder: Child;

  private constructor(holder: Child) {
    this.#holder = holder;
  }

  /**
   * Makes one and runs the shell commands in it, one a line, such as
   * `mount -t tmpfs -o size=8m tmpfs /folder`. Throws where one of them fails, with what it said.
   */
  static async make(commands: string[]): Promise<MountNamespace> {
    const up = Promise.withResolvers<void>();
    const script = ["set -e", ...commands, "echo up", "exec sleep 1000000"].join("\n");
    const words = ["unshare", "--mount", ...(isRoot ? [] : ["--map-root-user"]), "sh", "-c", script];
    const holder = startChild(words, {
      onStdout: (text) => {
        if (text.includes("up\n")) up.resolve();
      },
    });
    void holder.exit.then(({ code }) =>
      up.reject(new Error(`no mounts of our own (exit code ${code}): ${holder.stderr().trim()}`)),
    );
    await withDeadline(up.promise, 10_000, "the mounts");
    return new MountNamespace(holder);
  }

  /** The words that come before a command that is to run in there, in the folder `cwd`. */
  enter(cwd: string): string[] {
    const user = isRoot ? [] : ["--user", "--preserve-credentials"];
    return ["nsenter", "--target", String(this.#holder.pid), "--mount", ...user, `--wd=${cwd}`, "--"];
  }

  /** The path by which this process reaches what is `path` in there (proc(5), /proc/PID/root). */
  inside(path: string): string {
    return `/proc/${this.#holder.pid}/root${path}`;
  }

  async close(): Promise<void> {
    await this.#holder.kill();
  }
}

/**
 * Gives what makes mounts for a test of this file, as `MountNamespace.make` does. After each test its child
 * processes are killed and they are closed. To be called above what removes the test's folder.
 */
export function mountsOfEachTest(): (commands: string[]) => Promise<MountNamespace> {
  const made: MountNamespace[] = [];
  afterEach(async () => {
    await killChildren();
    for (const namespace of made.splice(0)) await namespace.close();
  });
  return async (commands) => {
    const namespace = await MountNamespace.make(commands);
    made.push(namespace);
    return namespace;
  };
}
