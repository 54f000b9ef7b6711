/** A TPM of a test's own: swtpm(8) behind a unix socket, in a folder. It ends with the test. */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Child, runChild, startChild } from "../system/child.ts";
import { listening } from "../system/listening.ts";

export interface Chip {
  /** What MIGRATE_TPM is to say. */
  readonly place: string;
  /** The server's socket. */
  readonly socket: string;
  /** For tpm2-tools (TPM2TOOLS_TCTI). */
  readonly tcti: string;
  readonly swtpm: Child;
  /** Ends the chip as a power cut does, and starts it again: another boot. */
  reboot(): Promise<void>;
  stop(): Promise<void>;
}

export interface ChipOptions {
  /** Whether its maker has given it certificates (RSA L-1, ECC H-3), by a CA in the folder. */
  certified?: boolean;
}

/** Makes a chip with its state in `folder`, and starts it. Longer than socket paths may be, `folder` is refused by swtpm. */
export async function startChip(folder: string, { certified = false }: ChipOptions = {}): Promise<Chip> {
  const state = join(folder, "state");
  const socket = join(folder, "s");
  if (!existsSync(state)) {
    mkdirSync(state, { recursive: true });
    if (certified) await manufacture(folder, state);
  }
  let swtpm = await start(state, socket);
  return {
    place: `swtpm:${socket}`,
    socket,
    tcti: `swtpm:path=${socket}`,
    get swtpm() {
      return swtpm;
    },
    async reboot() {
      await swtpm.kill();
      swtpm = await start(state, socket);
    },
    async stop() {
      await swtpm.kill();
    },
  };
}

/** Runs a program of tpm2-tools on the chip, in `folder`, and gives what it prints. Throws an Error where it fails. */
export async function tpm2(chip: Chip, folder: string, ...command: string[]): Promise<string> {
  const env = { ...process.env, TPM2TOOLS_TCTI: chip.tcti };
  const [name = "", ...rest] = command;
  return await runChild([`tpm2_${name}`, ...rest], { env, cwd: folder });
}

/** The certificate of the CA that certified chips in this folder have, and of its root: PEM. */
export function makersPems(folder: string): string[] {
  return ["issuercert.pem", "swtpm-localca-rootca-cert.pem"].map((name) => join(folder, "ca", name));
}

async function start(state: string, socket: string): Promise<Child> {
  // A chip that was killed leaves its sockets, which would be taken for those of the new one.
  for (const left of [socket, `${socket}.ctrl`]) rmSync(left, { force: true });
  const swtpm = startChild([
    ...["swtpm", "socket", "--tpm2", "--tpmstate", `dir=${state}`],
    ...["--server", `type=unixio,path=${socket}`, "--ctrl", `type=unixio,path=${socket}.ctrl`],
    ...["--flags", "startup-clear,not-need-init"],
  ]);
  await listening(`${socket}.ctrl`);
  await listening(socket);
  return swtpm;
}

/** swtpm_setup(8) with a CA in the folder, so that chips of other tests have other makers. */
async function manufacture(folder: string, state: string): Promise<void> {
  const ca = join(folder, "ca");
  mkdirSync(ca, { recursive: true });
  const config = (name: string, lines: string[]) => Bun.write(join(folder, name), `${lines.join("\n")}\n`);
  await config("localca.conf", [
    `statedir = ${ca}`,
    `signingkey = ${ca}/signkey.pem`,
    `issuercert = ${ca}/issuercert.pem`,
    `certserial = ${ca}/certserial`,
  ]);
  await config("localca.options", [
    "--platform-manufacturer Test",
    "--platform-version 1",
    "--platform-model chip",
  ]);
  await config("setup.conf", [
    "create_certs_tool = /usr/bin/swtpm_localca",
    `create_certs_tool_config = ${folder}/localca.conf`,
    `create_certs_tool_options = ${folder}/localca.options`,
  ]);
  await runChild([
    ...["swtpm_setup", "--tpm2", "--tpmstate", state, "--config", join(folder, "setup.conf")],
    ...["--create-ek-cert", "--lock-nvram"],
  ]);
}
