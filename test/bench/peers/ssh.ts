/** What is at hand on every host: a pipe through ssh, with zstd in it or without, and rsync over ssh. */
import { basename, join } from "node:path";
import { peerTools, type Tool } from "../../support/runner/needs.ts";
import { type Child, runChild, startChild } from "../../support/system/child.ts";
import { type Attempt, type Contender, isRandom } from "../contender.ts";
import type { Input } from "../inputs.ts";
import type { Link } from "../link.ts";
import { descendants } from "../processes.ts";
import { cipher, type SshServer, startSshServer } from "./ssh-server.ts";

const sshTools = peerTools.filter(({ program }) => program === "ssh" || program === "sshd");
const rsyncTools = peerTools.filter(({ program }) => program === "rsync");
const zstdTool: Tool = { program: "zstd", package: "zstd" };
const shortCipher = cipher.split("@")[0];

export const ssh: Contender = {
  name: "ssh",
  title: `cat over ssh (${shortCipher})`,
  role: "peer",
  needs: sshTools,
  suits: () => true,
  prepare: async (input, folder, link) =>
    await overSsh(input, folder, link, (client, arrivedPath) =>
      startChild([...link.source, ...client, link.address, `cat > ${quoted(arrivedPath)}`], {
        stdin: Bun.file(input.path),
      }),
    ),
};

export const zstdSsh: Contender = {
  name: "zstd-ssh",
  title: "zstd -1 over that ssh, zstd -d --sparse there",
  role: "peer",
  needs: [...sshTools, zstdTool],
  suits: () => true,
  prepare: async (input, folder, link) =>
    await overSsh(input, folder, link, (client, arrivedPath) => {
      // A file that ends too early is an error of the zstd over there, whose exit code is the pipe's.
      const there = `zstd -q -d --sparse -o ${quoted(arrivedPath)}`;
      const remote = [...client, link.address, there].map(quoted).join(" ");
      const pipe = `zstd -q -1 -c ${quoted(input.path)} | ${remote}`;
      return startChild([...link.source, "sh", "-c", pipe]);
    }),
};

export const rsync = rsyncWith("rsync", "rsync -W over that ssh", ["--whole-file"], () => true);

/** There is nothing to compare with yet: whole files, compressed on their way. */
export const rsyncZ = rsyncWith(
  "rsync-z",
  "rsync -W -z over that ssh",
  ["--whole-file", "--compress"],
  (input) => !isRandom(input),
);

/** Holes of an image are kept as holes. */
export const rsyncSparse = rsyncWith(
  "rsync-sparse",
  "rsync -W --sparse over that ssh",
  ["--whole-file", "--sparse"],
  (input) => input.kind === "disk" && !isRandom(input),
);

/** What the destination has before lies under the file's own name, and is changed where it differs. */
export const rsyncInplace = rsyncWith(
  "rsync-inplace",
  "rsync --inplace over that ssh, onto what is there",
  // Without the last one it would believe a file that has the same size and time.
  ["--inplace", "--no-whole-file", "--ignore-times"],
  (input) => input.before !== undefined,
  async (input, arrivedPath) => {
    if (input.before !== undefined) await runChild(["cp", "--sparse=always", input.before.path, arrivedPath]);
  },
);

function rsyncWith(
  name: string,
  title: string,
  flags: readonly string[],
  suits: Contender["suits"],
  settle: (input: Input, arrivedPath: string) => Promise<void> = async () => {},
): Contender {
  return {
    name,
    title,
    role: "peer",
    needs: [...sshTools, ...rsyncTools],
    suits,
    async prepare(input, folder, link) {
      await settle(input, join(folder, basename(input.path)));
      return await overSsh(input, folder, link, (client, arrivedPath) => {
        const shell = ["-e", client.join(" ")];
        const target = `${link.address}:${arrivedPath}`;
        return startChild([...link.source, "rsync", ...flags, ...shell, input.path, target]);
      });
    },
  };
}

async function overSsh(
  input: Input,
  folder: string,
  link: Link,
  start: (client: SshServer["client"], arrivedPath: string) => Child,
): Promise<Attempt> {
  const { client, server } = await startSshServer(folder, link);
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

/** One word of a shell's command line (sh(1), single quotes). */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
