/** All contenders by name, in the order of the table. */
import { basename, join } from "node:path";
import { startChild } from "../support/child.ts";
import type { Contender } from "./contender.ts";
import { ours } from "./ours.ts";
import { socat } from "./socat.ts";
import { rsync, ssh } from "./ssh.ts";

/** The limit: the same bytes through the same memory, without a peer. `cp` keeps holes by itself. */
const cp: Contender = {
  name: "cp",
  title: "cp (the limit)",
  needs: [{ program: "cp" }],
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

export const contenders: readonly Contender[] = [
  cp,
  ours("ours", "migrate", []),
  ours("ours-insecure", "migrate --insecure", ["--insecure"]),
  ssh,
  rsync,
  socat,
];

export const contenderNames = contenders.map(({ name }) => name);
