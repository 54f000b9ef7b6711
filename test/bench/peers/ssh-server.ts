/**
 * An SSH server of our own: throw-away keys, the machine's configuration left alone, and the cipher
 * that is fastest with AES instructions.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { findProgram } from "../../support/runner/needs.ts";
import { type Child, runChild, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import type { Link } from "../link.ts";

export const cipher = "aes128-gcm@openssh.com";

export interface SshServer {
  /** The client's command line up to the host; the program is its first word. */
  client: string[];
  server: Child;
}

/** A server that is up at the link's destination; its files are in `folder`. Throws with what it wrote where it is not. */
export async function startSshServer(
  folder: string,
  link: Pick<Link, "address" | "destination">,
): Promise<SshServer> {
  const keys = join(folder, "keys");
  mkdirSync(keys, { mode: 0o700 });
  const [hostKey, userKey] = [join(keys, "host"), join(keys, "user")];
  for (const path of [hostKey, userKey]) {
    await runChild(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path]);
  }
  const port = await freePort();
  const config = join(keys, "sshd_config");
  const settings = [
    `Port ${port}`,
    `ListenAddress ${link.address}`,
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${userKey}.pub`,
    "AuthenticationMethods publickey",
    "PermitRootLogin prohibit-password",
    "StrictModes no",
    "UsePAM no",
    "PidFile none",
    "UseDNS no",
    `Ciphers ${cipher}`,
  ];
  writeFileSync(config, settings.map((line) => `${line}\n`).join(""));
  const hostPublicKey = await Bun.file(`${hostKey}.pub`).text();
  writeFileSync(join(keys, "known_hosts"), `[${link.address}]:${port} ${hostPublicKey}`);
  // As root it wants an empty folder to confine its helper process to.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });

  const up = Promise.withResolvers<void>();
  let log = "";
  const command = [findProgram("sshd") ?? "sshd", "-D", "-e", "-f", config];
  const server = startChild([...link.destination, ...command], {
    onStderr(text) {
      log += text;
      if (log.includes("Server listening on")) up.resolve();
    },
  });
  server.exit.then(() => up.reject(new Error(`sshd ended: ${server.stderr()}`)));
  await withDeadline(up.promise, 10_000, () => `sshd to listen; it wrote: ${log}`);
  const options = {
    Ciphers: cipher,
    UserKnownHostsFile: join(keys, "known_hosts"),
    StrictHostKeyChecking: "yes",
    Compression: "no",
    BatchMode: "yes",
    LogLevel: "ERROR",
  };
  const flags = Object.entries(options).flatMap(([option, value]) => ["-o", `${option}=${value}`]);
  return { client: ["ssh", "-F", "none", "-i", userKey, "-p", String(port), ...flags], server };
}

/**
 * sshd takes no port 0. Somebody else may take the port in between: then sshd says so and the run
 * fails. In a network namespace of our own nobody else is there to take it.
 */
async function freePort(): Promise<number> {
  const server = createServer();
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
  const address = server.address();
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  await closed.promise;
  if (address === null || typeof address === "string") throw new Error("no free port on 127.0.0.1");
  return address.port;
}
