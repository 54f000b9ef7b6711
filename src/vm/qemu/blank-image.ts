/** An empty disk image for a QEMU to mirror into: holes alone, of the size that the guest sees. */
import { closeSync, constants, ftruncateSync, openSync } from "node:fs";
import { which } from "../../platform/host.ts";
import { MigrateError } from "../../protocol/errors.ts";

/**
 * Makes the image at `path`, mode 0600, where nothing may be yet. qcow2 is made by qemu-img(1), which is started
 * with the command that `confined` returns for its own, once there is a file. Throws MigrateError "qemu-failed" if
 * that fails, and as node:fs does (EEXIST, ENOSPC).
 */
export async function makeBlankImage(
  path: string,
  format: "raw" | "qcow2",
  bytes: number,
  confined: (argv: readonly string[]) => string[] = (argv) => [...argv],
): Promise<void> {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    if (format === "raw") ftruncateSync(fd, bytes);
  } finally {
    closeSync(fd);
  }
  if (format === "raw") return;
  // qemu-img takes "a:b" for a protocol; a path that begins with a slash it does not.
  const command = [which("qemu-img") ?? "qemu-img", "create", "-q", "-f", "qcow2", path, String(bytes)];
  const child = Bun.spawn(confined(command), {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
  });
  if ((await child.exited) !== 0) {
    throw new MigrateError("qemu-failed", "the destination's qemu-img could not make a disk", {
      side: "destination",
    });
  }
}
