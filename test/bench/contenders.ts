/** All contenders by name, in the order of the table. */
import { basename, join } from "node:path";
import { startChild } from "../support/system/child.ts";
import type { Contender } from "./contender.ts";
import type { Input } from "./inputs.ts";
import { ours } from "./ours.ts";
import { plainTcp, socat } from "./peers/socat.ts";
import { rsync, rsyncInplace, rsyncSparse, rsyncZ, ssh, zstdSsh } from "./peers/ssh.ts";

/** The limit: the same bytes through the same memory, without a peer. `cp` keeps holes by itself. */
const cp: Contender = {
  name: "cp",
  title: "cp (the limit)",
  role: "limit",
  needs: [{ program: "cp" }],
  suits: () => true,
  async prepare(input, folder) {
    const arrivedPath = join(folder, basename(input.path));
    return {
      arrivedPath,
      start: () => startChild(["cp", input.path, arrivedPath]),
      arrived: async () => {},
      finish: async () => {},
    };
  },
};

/** Another build, to be held against this one in the same rounds: `MIGRATE_BEFORE=PATH bun run bench …`. */
const before = process.env.MIGRATE_BEFORE;

const isNew = (input: Input): boolean => input.before === undefined;

export const contenders: readonly Contender[] = [
  cp,
  plainTcp,
  ours("ours", "migrate"),
  ...(before === undefined ? [] : [ours("ours-before", "migrate before", { binary: before })]),
  ours("ours-base", "migrate --base, serve --index off", {
    withoutIndex: true,
    suits: (input) => !isNew(input),
  }),
  ours("ours-off", "migrate --compress off", { sendFlags: ["--compress", "off"] }),
  // On an insecure link nothing that the destination has is used.
  ours("ours-insecure", "migrate --insecure", { flags: ["--insecure"], suits: isNew }),
  ssh,
  zstdSsh,
  rsync,
  rsyncZ,
  rsyncSparse,
  rsyncInplace,
  socat,
];

export const contenderNames = contenders.map(({ name }) => name);
