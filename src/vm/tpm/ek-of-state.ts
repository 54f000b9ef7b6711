/**
 * Which virtual TPM a state is of: swtpm is run on a private copy of it, in memory alone (private-copy.ts), and asked
 * for its endorsement key. The state may be a stranger's, so the program that reads it is confined as a VM's is, and has
 * nothing but the copy. The state itself is not touched, and may be in use: swtpm replaces its files whole.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Socket } from "bun";
import { which } from "../../platform/host.ts";
import { Confinement } from "../confinement/confinement.ts";
import { programEnvironment } from "../confinement/environment.ts";
import { ownCommand } from "../confinement/own-command.ts";
import { give } from "../confinement/vm-user.ts";
import {
  answerBytes,
  askEk,
  codeOfAnswer,
  ekDigest,
  forgetPassword,
  headerBytes,
  needsPassword,
} from "./ek-commands.ts";
import { destroyCopy, memoryFolder, newPrivateCopy, sweepPrivateCopies } from "./private-copy.ts";
import { stateMaxBytes } from "./sealed-state.ts";

/** "sha256:" and hex, of the key's public area; or why it is not known, as the end of a sentence. */
export type EkFound = { ek: string } | { unknown: string };

/** The permanent state of a TPM 2.0 (swtpm(8), --tpmstate): the rest is of one run. */
export const permanentState = "tpm2-00.permall";
/** How long all of it may take, in milliseconds; it takes some hundred. */
const askingMs = 8_000;
const pollMs = 5;
/** The head of a state file (swtpm_nvstore.c): version, least version, u16 its size, u16 flags, u32 the whole size. */
const flagsAt = 4;
const encryptedFlag = 1;

/** Reads a permanent state, following no link; null if it is not there, no plain file, or longer than any. */
export function readPermanent(path: string): Buffer | null {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    return stat.isFile() && stat.size <= stateMaxBytes ? readFileSync(fd) : null;
  } catch {
    return null;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Returns the endorsement key of the TPM whose permanent state this is; `memory` is where the copy is made, and without
 * one none is: on a disk it could not be destroyed for certain. Never throws.
 */
export async function ekOfState(
  permanent: Buffer | null,
  { memory = memoryFolder() }: { memory?: string | null } = {},
): Promise<EkFound> {
  if (permanent === null) return { unknown: "it has no state of a TPM 2.0" };
  if (permanent.length > stateMaxBytes) return { unknown: "its state is longer than any" };
  if (permanent.length > flagsAt + 1 && (permanent.readUInt16BE(flagsAt) & encryptedFlag) !== 0)
    return { unknown: "its state is encrypted, with a key that its swtpm alone is given" };
  if (which("swtpm") === null) return { unknown: "there is no swtpm here" };
  if (memory === null) return { unknown: "there is no folder in memory here for a copy of its state" };
  await sweepPrivateCopies();
  let copy: { folder: string; state: string } | undefined;
  try {
    copy = newPrivateCopy(memory);
    writeFileSync(join(copy.state, permanentState), permanent, { mode: 0o600, flag: "wx" });
    return await askIn(copy.folder, copy.state);
  } catch (thrown) {
    return {
      unknown: `swtpm could not be asked (${String((thrown as Error).message ?? thrown).slice(0, 200)})`,
    };
  } finally {
    if (copy !== undefined) await destroyCopy(copy.folder);
  }
}

async function askIn(folder: string, state: string): Promise<EkFound> {
  const confinement = await confinementHere();
  const user = confinement.lease([dirname(folder)]);
  if (user !== null) {
    give("way in", folder, user);
    give("state", state, user);
    give("state file", join(state, permanentState), user);
  }
  const argv = confinement.command(
    [
      ...["swtpm", "socket", "--tpm2", "--tpmstate", "dir=.,mode=0600", "--terminate"],
      ...["--server", "type=unixio,path=s", "--flags", "not-need-init,startup-clear"],
    ],
    {
      ...{ user, network: "none", cwd: state, cgroups: [], endsWithParent: true },
      files: [{ path: state, right: "own" }],
    },
  );
  const lateAtMs = performance.now() + askingMs;
  const child = Bun.spawn(argv, {
    stdio: ["ignore", "ignore", "ignore"],
    cwd: state,
    env: programEnvironment,
    timeout: askingMs,
    killSignal: "SIGKILL",
  });
  try {
    return await exchange(
      join(state, "s"),
      () => child.exitCode !== null || child.signalCode !== null,
      lateAtMs,
    );
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

let found: Promise<Confinement> | undefined;
/** Found out once a process. */
function confinementHere(): Promise<Confinement> {
  found ??= Confinement.find({ self: ownCommand() });
  return found;
}

async function exchange(path: string, isOver: () => boolean, lateAtMs: number): Promise<EkFound> {
  const tpm = await connected(path, isOver, lateAtMs);
  try {
    let answer = await tpm.ask(askEk());
    if (needsPassword(codeOfAnswer(answer))) {
      for (const command of forgetPassword()) await tpm.ask(command);
      answer = await tpm.ask(askEk());
    }
    const code = codeOfAnswer(answer);
    if (code !== 0) return { unknown: `its TPM answers 0x${code.toString(16)} when it is asked for its key` };
    return { ek: ekDigest(answer) };
  } finally {
    tpm.end();
  }
}

interface Asked {
  ask(command: Buffer): Promise<Buffer>;
  end(): void;
}

/** Rejects if swtpm ends, or does not answer in time. */
async function connected(path: string, isOver: () => boolean, lateAtMs: number): Promise<Asked> {
  let pending: PromiseWithResolvers<Buffer> | undefined;
  let got = Buffer.alloc(0);
  const fail = (why: string) => pending?.reject(new Error(why));
  const take = (bytes: Uint8Array) => {
    got = Buffer.concat([got, bytes]);
    try {
      if (got.length < headerBytes || got.length < answerBytes(got)) return;
      pending?.resolve(got);
    } catch (thrown) {
      fail((thrown as Error).message);
    }
  };
  const handlers = {
    data: (_: Socket, bytes: Uint8Array) => take(bytes),
    close: () => fail("it closed the connection"),
    error: () => fail("the connection failed"),
  };
  let socket: Socket | undefined;
  while (socket === undefined) {
    if (isOver()) throw new Error("it ended at its start");
    if (performance.now() > lateAtMs) throw new Error("it does not come up");
    socket = await Bun.connect({ unix: path, socket: handlers }).catch(() => undefined);
    if (socket === undefined) await Bun.sleep(pollMs);
  }
  const open = socket;
  return {
    async ask(command) {
      pending = Promise.withResolvers<Buffer>();
      got = Buffer.alloc(0);
      const timer = setTimeout(() => fail("it does not answer"), Math.max(1, lateAtMs - performance.now()));
      try {
        // Shorter than any socket's buffer.
        open.write(command);
        return await pending.promise;
      } finally {
        clearTimeout(timer);
      }
    },
    end: () => open.end(),
  };
}
