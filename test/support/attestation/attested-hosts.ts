/** Two hosts with running VMs, each with a TPM of its own: both run the compiled binary, and prove what they run. */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { RunningGuest } from "../guests/running-guest.ts";
import { sessionsIn } from "../moves/ownership.ts";
import type { RunningHosts } from "../moves/running-hosts.ts";
import type { TwoHosts } from "../moves/two-hosts.ts";
import type { MigrateProcess } from "../system/process.ts";
import { type Chip, startChip } from "../tpm/chip.ts";

const envOf = (chip: Chip) => ({ MIGRATE_TPM: chip.place });

export class AttestedHosts {
  readonly at: RunningHosts;
  /** Of the source's host, and of the destination's. */
  readonly chips: { source: Chip; destination: Chip };

  private constructor(at: RunningHosts, chips: AttestedHosts["chips"]) {
    this.at = at;
    this.chips = chips;
  }

  /** The chips end with the hosts: they lie in their folder. */
  static async make(at: RunningHosts): Promise<AttestedHosts> {
    const chipIn = async (name: string) => {
      const folder = join(at.folder, name);
      mkdirSync(folder, { recursive: true });
      return await startChip(folder);
    };
    const [source, destination] = await Promise.all([chipIn("c1"), chipIn("c2")]);
    return new AttestedHosts(at, { source, destination });
  }

  /** Serves with --attest, and has the source record what the destination shows. */
  async serve(flags: string[] = []): Promise<MigrateProcess> {
    const { at, chips } = this;
    const serve = await at.serve({ flags: ["--attest", ...flags], env: envOf(chips.destination) });
    const { ticket = "" } = await serve.waitFor("listening");
    const { addressText } = at.hosts.proxy;
    const recorded = this.source(["attest", "record", addressText, "--ticket", ticket, "--yes"]);
    expect(await recorded.exit, recorded.stderr()).toMatchObject({ code: 0 });
    return serve;
  }

  send(vm: RunningGuest | string, flags: string[] = ["--attest"]): MigrateProcess {
    return this.at.send(vm, flags, { env: envOf(this.chips.source) });
  }

  /** `migrate send` of a VM that is files, in this folder. */
  sendFolder(folder: string, flags: string[] = ["--attest"]): MigrateProcess {
    return this.at.hosts.send(folder, flags, { env: envOf(this.chips.source) });
  }

  /** Any command on the source's host. */
  source(words: string[]): MigrateProcess {
    return this.at.hosts.source(words, { env: envOf(this.chips.source) });
  }

  /** Any command on the destination's host. */
  destination(words: string[]): MigrateProcess {
    return this.at.hosts.destination(words, { env: envOf(this.chips.destination) });
  }

  /** The destination's person accepts what the source has shown there. */
  async acceptSource(): Promise<void> {
    const id = this.source(["id"]);
    await id.exit;
    const [fingerprint = ""] = id.stdout().match(/sha256:[0-9a-f]{64}/) ?? [];
    const accepted = this.destination(["attest", "record", fingerprint, "--yes"]);
    expect(await accepted.exit, accepted.stderr()).toMatchObject({ code: 0 });
  }

  /** The way back, where both hosts go on to prove what they run. */
  async back(
    flags: string[] = [],
  ): Promise<{ hosts: TwoHosts; send: (vm: string, flags: string[]) => MigrateProcess }> {
    const { at, chips } = this;
    const hosts = await at.back({ flags: ["--attest", ...flags], env: envOf(chips.source) });
    return {
      hosts,
      send: (vm, more) => hosts.send(vm, more, { env: envOf(chips.destination) }),
    };
  }
}

/** Throws (by `expect`) unless each file of evidence in that home holds on its own; gives how many there are. */
export async function expectEvidenceHolds(
  home: string,
  check: (words: string[]) => MigrateProcess,
): Promise<number> {
  const folder = join(home, "attest", "evidence");
  const files = existsSync(folder) ? readdirSync(folder) : [];
  for (const file of files) {
    const checked = check(["attest", "check", join(folder, file)]);
    expect(await checked.exit, checked.stderr()).toMatchObject({ code: 0 });
    expect(checked.events.at(-1)).toMatchObject({ event: "checked", allowed: true });
  }
  return files.length;
}

/** The id of the only session of the source's host. */
export const onlySession = (home: string): string => sessionsIn(home, "source").at(-1)!.session;
