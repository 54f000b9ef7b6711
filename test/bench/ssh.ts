/**
 * ssh and rsync over it, with an SSH server of our own on loopback: throw-away keys, the machine's
 * configuration left alone, and the cipher that is fastest with AES instructions.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { basename, join } from "node:path";
import { type Child, runChild, startChild } from "../support/child.ts";
import { withDeadline } from "../support/deadline.ts";
import { findProgram, peerTools } from "../support/needs.ts";
import type { Attempt, Contender } from "./contender.ts";
import type { Input } from "./inputs.ts";
import { descendants } from "./processes.ts";

const cipher = "aes128-gcm@openssh.com";
const sshTools = peerTools.filter(({ program }) => program === "ssh" || program === "sshd");
const rsyncTools = peerTools.filter(({ program }) => program === "rsync");

export const ssh: Contender = {
  name: "ssh",
  title: `cat over ssh (${cipher.split("@")[0]})`,
  needs: sshTools,
  prepare: async (input, folder) =>
    await overSsh(input, folder, (client, arrivedPath) =>
      startChild([...client, "127.0.0.1", `cat > '${arrivedPath}'`], { stdin: Bun.file(input.path) }),
    ),
};

export const rsync: Contender = {
  name: "rsync",
  title: "rsync -W over that ssh (-S for the sparse disk)",
  needs: [...sshTools, ...rsyncTools],
  // A first copy has nothing to compare with: whole files. Where there are holes a user asks to keep them.
  prepare: async (input, folder) =>
    await overSsh(input, folder, (client, arrivedPath) => {
      const sparse = input.sparse ? ["--sparse"] : [];
      const shell = ["-e", client.join(" ")];
      return startChild([
        "rsync",
        "--whole-file",
        ...sparse,
        ...shell,
        input.path,
        `127.0.0.1:${arrivedPath}`,
      ]);
    }),
};

async function overSsh(
  input: Input,
  folder: string,
  start: (client: string[], arrivedPath: string) => Child,
): Promise<Attempt> {
  const { client, server } = await startServer(folder);
  const arrivedPath = join(folder, basename(input.path));
  return {
    arrivedPath,
    destination: server,
    start: () => start(client, arrivedPath),
    // The client gives the exit code of the command over there, which has written everything.
    arrived: async () => {},
    async finish() {
      // The listener counts the CPU time of a session once it has reaped it.
      while (descendants(server.pid).length > 0) await Bun.sleep(2);
      await server.kill("SIGTERM");
    },
  };
}

/** A server that is up, and the client's command line up to the host. */
async function startServer(folder: string): Promise<{ client: string[]; server: Child }> {
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
    "ListenAddress 127.0.0.1",
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
  writeFileSync(join(keys, "known_hosts"), `[127.0.0.1]:${port} ${hostPublicKey}`);
  // As root it wants an empty folder to confine its helper process to.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });

  const up = Promise.withResolvers<void>();
  let log = "";
  const server = startChild([findProgram("sshd") ?? "sshd", "-D", "-e", "-f", config], {
    onStderr(text) {
      log += text;
      if (log.includes("Server listening on")) up.resolve();
    },
  });
  server.exit.then(() => up.reject(new Error(`sshd ended: ${server.stderr()}`)));
  await withDeadline(up.promise, 10_000, () => `sshd to listen; it wrote: ${log}`);
  const options = [
    "Ciphers",
    "UserKnownHostsFile",
    "StrictHostKeyChecking",
    "Compression",
    "BatchMode",
    "LogLevel",
  ];
  const values = [cipher, join(keys, "known_hosts"), "yes", "no", "yes", "ERROR"];
  const flags = options.flatMap((option, index) => ["-o", `${option}=${values[index]}`]);
  return { client: ["ssh", "-F", "none", "-i", userKey, "-p", String(port), ...flags], server };
}

/** sshd takes no port 0. Somebody else may take the port in between: then sshd says so and the run fails. */
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
