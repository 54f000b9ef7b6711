/** `migrate autostart`: whether a VM of this host is started when the host boots, by a systemd unit of its own. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { replaceHomeFile } from "../../../home/home-file.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { startWords, type UnitWishes, unitName, unitText } from "./unit-text.ts";

/** It is there while systemd runs the host: sd_booted(3). */
const bootedBySystemd = "/run/systemd/system";
/** How long systemctl may take, in milliseconds: enabling starts nothing but what runs already. */
const systemctlMs = 150_000;

export interface UnitPlace {
  scope: "system" | "user";
  /** Where such units lie. */
  folder: string;
  /** Whether systemd runs and can be told. */
  isBooted: boolean;
}

/** Where this user's units lie: systemd.unit(5), Unit File Load Path. `env` is of this process. */
export function unitPlace(env: Readonly<Record<string, string | undefined>>, root = "/"): UnitPlace {
  const isBooted = existsSync(join(root, bootedBySystemd));
  if (process.geteuid?.() === 0)
    return { scope: "system", folder: join(root, "etc/systemd/system"), isBooted };
  const config = env.XDG_CONFIG_HOME;
  const base = config && isAbsolute(config) ? config : join(env.HOME || homedir(), ".config");
  return { scope: "user", folder: join(base, "systemd/user"), isBooted };
}

export interface AutostartOptions extends Omit<UnitWishes, "scope"> {
  place: UnitPlace;
  /** The VM runs: from now on its unit is what stops it when the host goes down. */
  runs: boolean;
}

export interface Autostart {
  /** Path of its unit. */
  unit: string;
  /** What a person has left to do, a command each; empty if systemd was told. */
  left: readonly string[];
}

/**
 * Has the VM started when the host boots. What was written before is replaced. Throws MigrateError "name-taken" if another
 * VM of its name is, "file-unusable" if the unit cannot be written, "policy" as `unitText`, and "io" if systemd refuses it: the unit stays then.
 */
export async function autostartOn({ place, runs, ...wishes }: AutostartOptions): Promise<Autostart> {
  const name = unitName(wishes.name);
  const unit = join(place.folder, name);
  requireNoOther(wishes, place);
  const text = unitText({ ...wishes, scope: place.scope });
  try {
    mkdirSync(place.folder, { recursive: true });
    replaceHomeFile(unit, text);
    // As other units: systemd warns of one that is closed, and tells everybody what is in it.
    chmodSync(unit, 0o644);
  } catch (cause) {
    throw new MigrateError("file-unusable", `${unit} cannot be written: ${(cause as Error).message}`, {
      cause,
    });
  }
  // Started, it only notices that the VM runs; without that systemd would not stop it when the host goes down.
  return {
    unit,
    left: await tell(place, [["daemon-reload"], ["enable", name], ...(runs ? [["start", name]] : [])]),
  };
}

/** True if there is a unit that starts the VM of this folder, and not another one of that name. */
export function isStartedAtBoot(
  { name, folder }: { name: string; folder: string },
  place: UnitPlace,
): boolean {
  try {
    return readFileSync(join(place.folder, unitName(name)), "utf8").includes(startWords(folder));
  } catch {
    return false;
  }
}

/** Throws MigrateError "name-taken" if a unit of this name starts the VM of another folder. */
export function requireNoOther(vm: { name: string; folder: string }, place: UnitPlace): void {
  const unit = join(place.folder, unitName(vm.name));
  if (!existsSync(unit) || isStartedAtBoot(vm, place)) return;
  throw new MigrateError("name-taken", `another VM called ${vm.name} is started at boot, by ${unit}`, {
    hint: "see its ExecStart; migrate autostart FOLDER off, with that one's folder, takes it away",
  });
}

/**
 * Has the VM not started any more; whether it runs does not change. Returns null if it was not. Throws MigrateError
 * "file-unusable" if its unit cannot be removed, and "io" if systemd refuses.
 */
export async function autostartOff(name: string, place: UnitPlace): Promise<Autostart | null> {
  const file = unitName(name);
  const unit = join(place.folder, file);
  if (!existsSync(unit)) return null;
  const before = await tell(place, [["disable", file]]);
  try {
    rmSync(unit);
  } catch (cause) {
    throw new MigrateError("file-unusable", `${unit} cannot be removed: ${(cause as Error).message}`, {
      cause,
    });
  }
  return { unit, left: [...before, ...(await tell(place, [["daemon-reload"]]))] };
}

/** Tells systemd; returns what a person has to tell it where it does not run, or is not this user's to tell. */
async function tell({ scope, isBooted }: UnitPlace, commands: readonly string[][]): Promise<string[]> {
  const argvs = commands.map((words) => ["systemctl", ...(scope === "user" ? ["--user"] : []), ...words]);
  if (!isBooted) return argvs.map((argv) => argv.map(shown).join(" "));
  for (const argv of argvs) {
    const child = Bun.spawn(argv, {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      timeout: systemctlMs,
    });
    const said = (await new Response(child.stderr).text()).trim();
    if ((await child.exited) === 0) continue;
    throw new MigrateError("io", `${argv.map(shown).join(" ")} failed: ${said || "it said nothing"}`, {
      hint: "see systemctl status and journalctl; the same command again goes on",
    });
  }
  return [];
}

/** A word that a shell takes for one: a unit's name may have a backslash in it. */
function shown(word: string): string {
  return /^[\w.:@/=-]+$/.test(word) ? word : `'${word}'`;
}
