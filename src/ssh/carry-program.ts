/**
 * Brings this program to the other host: into the cache folder of the account there, under its hash, packed on the way
 * with what both sides have.
 */
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { MigrateError } from "../protocol/errors.ts";
import type { OwnProgram } from "./own-program.ts";
import type { RemoteLook } from "./remote-look.ts";
import { copyCommand, copyExits } from "./remote-scripts.ts";
import { lastLine } from "./ssh-failure.ts";
import type { SshMaster } from "./ssh-master.ts";
import type { SshRun } from "./ssh-process.ts";

/**
 * Of 108 MiB zstd leaves 51 MB in a second, and its level 1 leaves 57 MB in half of that; gzip 65 MB in a second
 * (measured on two cores of a virtual machine).
 */
const zstdLevel = 3;
const gzipLevel = 1;
/** A link of 128 kB/s brings it in that time. */
const copyTimeoutMs = 15 * 60_000;
/** The share of it that is told of, each time. */
const toldPart = 0.25;
/** Nobody waits long enough before that to want to know. */
const quietMs = 3000;

export interface CarryOptions {
  program: OwnProgram;
  look: RemoteLook;
  place: string;
  signal: AbortSignal;
  tell: (sentence: string) => void;
}

/**
 * Copies it; returns its path there. Throws MigrateError: "store-unusable" if it cannot be written there, "integrity" if
 * what arrived is something else, "policy" if it does not run there; "network".
 */
export async function carryProgram(master: SshMaster, options: CarryOptions): Promise<string> {
  const { program, look, place, signal, tell } = options;
  if (!look.has.includes("sha256sum")) {
    throw new MigrateError("policy", `${place} has no sha256sum to check a copy of this program with`, {
      side: "destination",
      hint: "Install coreutils there, or this version of migrate into its PATH.",
    });
  }
  const tool = look.has.includes("zstd") ? "zstd" : look.has.includes("gzip") ? "gzip" : "none";
  const packed = await pack(await Bun.file(program.path).bytes(), tool);
  const path = `${look.cache}/${program.hash}/migrate`;
  tell(`copying this migrate to ${place} (${megabytes(packed.length)}): ${path}`);
  const begunAtMs = performance.now();
  let told = 0;
  const taken = (bytes: number) => {
    const part = Math.floor(bytes / packed.length / toldPart) * toldPart;
    if (part <= told || part >= 1 || performance.now() - begunAtMs < quietMs) return;
    told = part;
    tell(`copied ${Math.round(part * 100)}% of it`);
  };
  const run = await master.run(copyCommand(program.hash, tool), {
    input: packed,
    taken,
    timeoutMs: copyTimeoutMs,
    signal,
  });
  if (run.code !== 0) throw copyFailure(run, master, place, look.cache);
  return path;
}

async function pack(content: Uint8Array, tool: string): Promise<Uint8Array> {
  if (tool === "zstd") return await Bun.zstdCompress(content, { level: zstdLevel });
  if (tool === "gzip") return await promisify(gzip)(content, { level: gzipLevel });
  return content;
}

function copyFailure(run: SshRun, master: SshMaster, place: string, cache: string): MigrateError {
  const side = "destination";
  const said = lastLine(run.stderr);
  switch (run.code) {
    case copyExits.folder:
    case copyExits.writing:
      return new MigrateError(
        "store-unusable",
        `this program cannot be written to ${cache} at ${place}: ${said}`,
        {
          side,
          hint: "Make room there, or set XDG_CACHE_HOME for that account to a folder that it may write.",
        },
      );
    case copyExits.hash:
      return new MigrateError("integrity", `what arrived of this program at ${place} is not what was sent`, {
        side,
        hint: "It has been removed there; run the command again.",
      });
    case copyExits.running:
      return new MigrateError("policy", `this program does not run at ${place} from ${cache}`, {
        side,
        hint: "Its disk may be mounted noexec (set XDG_CACHE_HOME for that account to another one), or its C library another one: then install the build of migrate for it there.",
      });
    default:
      return master.lost(run);
  }
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}
