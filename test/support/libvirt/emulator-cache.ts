/**
 * What stands in the emulator's place on every libvirt host of the tests, and what libvirt found out about it. Libvirt
 * asks an emulator for 8 s what it can do and keeps the answer with the file's time of change: so all hosts have the
 * same file, and begin with the same answers. Where anything has changed since, libvirt asks anew by itself
 * (libvirt, src/qemu/qemu_capabilities.c, virQEMUCapsIsValid).
 */
import { chmodSync, cpSync, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { builtOnce } from "../files/built-once.ts";
import { guestFolder, guestImage } from "../guests/guest-image.ts";

/** The folder on a host in which the real emulator lies, as bin/NAME, with its firmware where it looks for that. */
export const emulatorFolder = "/run/libvirt/emulator";

/** Where the guests' serial lines are kept on a host. */
export const serialFolder = "/var/log/libvirt/serial";

/**
 * The script becomes the emulator (execve(2)). It has QEMU write what a guest prints on the pty of its first serial
 * port to a file too, `NAME.NANOSECONDS.PID.log`, from the first byte and whether or not anybody has that pty open.
 * Libvirt and its XML know nothing of it.
 */
const loggedEmulator = (name: string): string => `#!/bin/sh
guest=
n=$#
while [ $n -gt 0 ]; do
  word=$1
  shift
  n=$((n - 1))
  case $word in
    guest=*) guest=\${word#guest=}; guest=\${guest%%,*} ;;
    pty,id=charserial0) word="$word,logfile=${serialFolder}/$guest.$(date +%s%N).$$.log" ;;
  esac
  set -- "$@" "$word"
done
exec ${emulatorFolder}/bin/${name} "$@"
`;

export interface EmulatorCache {
  /** The script, to be mounted over the emulator. */
  script: string;
  /** What a new host's /var/cache/libvirt is to hold. */
  libvirtCache: string;
}

/**
 * Takes the emulator's name, files on whose times of change the answers hang, and what fills an empty
 * /var/cache/libvirt by starting a host with that script. Kept beside the guests' kernels, for all processes.
 */
export async function emulatorCache(
  name: string,
  dependsOn: readonly string[],
  fill: (cache: EmulatorCache) => Promise<void>,
): Promise<EmulatorCache> {
  const text = loggedEmulator(name);
  const times = dependsOn.map((path) => [path, statSync(path).ctimeMs]);
  const key = Bun.hash(JSON.stringify([text, times])).toString(16);
  const folder = join(dirname(guestFolder(await guestImage())), `libvirt-${key}`);
  const filesIn = (place: string): EmulatorCache => ({
    script: join(place, "emulator"),
    libvirtCache: join(place, "cache"),
  });
  await builtOnce(folder, async (_building, finished) => {
    const cache = filesIn(finished);
    mkdirSync(cache.libvirtCache);
    writeFileSync(cache.script, text);
    chmodSync(cache.script, 0o755);
    await fill(cache);
  });
  return filesIn(folder);
}

/** Copies what libvirt knows into a host's own folder for it. */
export function copyLibvirtCache({ libvirtCache }: EmulatorCache, to: string): void {
  if (existsSync(libvirtCache)) cpSync(libvirtCache, to, { recursive: true, preserveTimestamps: true });
}
