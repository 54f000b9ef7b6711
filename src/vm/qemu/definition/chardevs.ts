/**
 * Character devices and what hangs on them: -chardev, -serial, -parallel, -mon and -tpmdev. Whatever
 * leads somewhere at the source (a socket, a terminal, a file) leads to a socket in the destination's
 * run folder; what leads over a network is refused. Pure.
 */
import type { Draft, OptionReader } from "./draft.ts";
import type { ChardevPart, Pair, TextPair } from "./model.ts";
import { asText, refused, shown } from "./option-syntax.ts";
import { readWord } from "./plain-options.ts";
import { type KeyRules, patterns, Settings } from "./settings.ts";

const { size, flag, id, word, text } = patterns;

/** Backends and what they become. */
const backends: Readonly<Record<string, ChardevPart["backend"]>> = {
  socket: "socket",
  stdio: "socket",
  pty: "socket",
  file: "socket",
  pipe: "socket",
  spicevmc: "socket",
  spiceport: "socket",
  null: "null",
  vc: "null",
  ringbuf: "ringbuf",
  memory: "ringbuf",
};

/** How a backend was set up at the source, which does not concern the destination. */
const setup = (
  "server wait reconnect reconnect-ms abstract tight fd delay signal append input-path " +
  "width height cols rows name debug logappend"
).split(" ");

/** Shorter than QEMU allows: it becomes a socket's name, and those are short (unix(7)). */
export const chardevId = /^[A-Za-z][\w.-]{0,31}$/;

/** What of a character device is the VM's own. */
export function chardevKeys(backend: ChardevPart["backend"]): KeyRules {
  return backend === "tpm" ? {} : backend === "ringbuf" ? { mux: flag, size } : { mux: flag };
}

const overNetwork = "it leads over a network that may not be the destination's";
const networkKeys = /^(?:host|port|to|ipv4|ipv6|telnet|tn3270|websocket|tls-.*|local(?:addr|port))$/;

const readChardev: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "backend" });
  const given = settings.need("backend", word);
  const backend = Object.hasOwn(backends, given) ? backends[given] : undefined;
  if (backend === undefined) {
    const why = given === "udp" ? overNetwork : "it is not among what a VM may bring along";
    throw refused(`${option} ${shown(given)}`, why);
  }
  const own = settings.need("id", chardevId);
  if (own.startsWith("compat_monitor")) throw refused(option, "QEMU keeps ids that begin so for itself");
  const path = settings.take("path", text);
  settings.drop(setup);
  const log = settings.take("logfile", text) !== undefined;
  const pairs = settings.kept(chardevKeys(backend));
  settings.end((key) => (networkKeys.test(key) ? overNetwork : undefined));
  addChardev(draft, { kind: "chardev", id: own, backend, pairs: asOnOff(pairs), log }, option);
  if (path !== undefined) draft.chardevPaths.set(own, path);
};

/** "mux" may be yes or true: only what is on is kept. */
function asOnOff(pairs: readonly Pair[]): TextPair[] {
  return asText(pairs).flatMap(({ key, value }) => {
    if (key !== "mux") return [{ key, value }];
    return /^(?:on|yes|true|y)$/.test(String(value)) ? [{ key, value: "on" }] : [];
  });
}

function addChardev(draft: Draft, part: ChardevPart, option: string): void {
  draft.define("chardev", part.id, option);
  draft.chardevs.set(part.id, part);
  draft.parts.push(part);
}

/** Where QEMU's short forms lead, by what they begin with; null for what is refused. */
function target(value: string): "none" | "null" | "vc" | "socket" | "chardev" | null {
  const plain = value.startsWith("mon:") ? value.slice("mon:".length) : value;
  if (plain === "none" || plain === "null") return plain;
  if (/^vc(?::[\dCx]{1,16})?$/.test(plain)) return "vc";
  if (/^chardev:/.test(plain)) return "chardev";
  if (plain === "stdio" || plain === "pty" || /^(?:unix|file|pipe):/.test(plain)) return "socket";
  return null;
}

/** "tcp:192.0.2.7:5000" as "tcp:", for a sentence. */
function schemeOf(value: string): string {
  return shown(/^[A-Za-z]+:/.exec(value)?.[0] ?? "");
}

const readSerial: OptionReader = (draft, value, option) => {
  draft.namesSerial = true;
  switch (target(value)) {
    case "none":
    case "null":
    case "vc":
      readWord(draft, value, option);
      return;
    case "chardev": {
      const to = value.replace(/^(?:mon:)?chardev:/, "");
      if (!id.test(to)) throw refused(option, "its character device has no proper name");
      draft.refer(option, "chardev", to);
      draft.parts.push({ kind: "serial", chardev: to });
      return;
    }
    case "socket":
      serialSocket(draft, /,logfile=/.test(value));
      return;
    case null:
      throw refused(`${option} ${schemeOf(value)}`, "it leads to a device or over a network");
  }
};

/** A serial line on a socket in the run folder. Its id is found once all others are known. */
export function serialSocket(draft: Draft, log = false): void {
  const chardev: ChardevPart = { kind: "chardev", id: "", backend: "socket", pairs: [], log };
  draft.parts.push(chardev, { kind: "serial", chardev: "" });
}

/** Notes which character devices lead elsewhere at the destination. To be called once the TPM has its own. */
export function noteSockets(draft: Draft): void {
  for (const part of draft.parts)
    if (part?.kind === "chardev" && part.backend === "socket")
      draft.note(`The character device ${part.id} becomes a socket in the destination's run folder`);
  if (draft.tpmChardev !== null) draft.note("The TPM's state moves to a swtpm of the destination");
}

/** Names the serial lines' sockets "serial0" and so on, passing over ids that are taken. */
export function nameSerialSockets(draft: Draft): void {
  let count = 0;
  for (const [at, part] of draft.parts.entries()) {
    if (part?.kind !== "chardev" || part.id !== "") continue;
    while (draft.isDefined("chardev", `serial${count}`)) count++;
    part.id = `serial${count}`;
    draft.define("chardev", part.id, "-serial");
    const line = draft.parts[at + 1];
    if (line?.kind === "serial") line.chardev = part.id;
  }
}

const readParallel: OptionReader = (draft, value, option) => {
  const where = target(value);
  if (where !== "none" && where !== "null" && where !== "vc")
    throw refused(option, "a parallel port can only be without anything on it");
  readWord(draft, value, option);
};

const readMon: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "chardev" });
  const to = settings.need("chardev", id);
  const mode = settings.take("mode", /^(?:readline|control)$/);
  settings.drop(["pretty", "id"]);
  settings.end();
  draft.refer(`${option} chardev`, "chardev", to);
  draft.plain(option, [
    { key: "chardev", value: to },
    { key: "mode", value: mode ?? "readline" },
  ]);
};

/** -monitor, -qmp: the destination has a monitor of its own, in its run folder. */
const readMonitor: OptionReader = (draft, value, option) => {
  if (target(value) === null)
    throw refused(`${option} ${schemeOf(value)}`, "it leads to a device, a program or over a network");
  if (value !== "none") draft.note(`${option} is left out: the destination has a monitor of its own`);
};

const readTpm: OptionReader = (draft, value, option) => {
  draft.once(option);
  const settings = Settings.read(option, value, { implied: "type" });
  const type = settings.need("type", word);
  if (type !== "emulator")
    throw refused(`${option} ${shown(type)}`, "only an emulated TPM (swtpm) can be moved");
  const own = settings.need("id", id);
  const chardev = settings.need("chardev", id);
  settings.end();
  draft.define("tpmdev", own, option);
  draft.refer(`${option} chardev`, "chardev", chardev);
  draft.tpmChardev = chardev;
  draft.plain(option, [
    { key: "type", value: type },
    { key: "id", value: own },
    { key: "chardev", value: chardev },
  ]);
};

/**
 * Marks the TPM's character device as the one that leads to swtpm; returns the path of its socket at the source.
 * Null if the VM has no TPM.
 * @throws MigrateError "policy" if it is no socket with a path.
 */
export function bindTpm(draft: Draft): string | null {
  if (draft.tpmChardev === null) return null;
  const chardev = draft.chardevs.get(draft.tpmChardev);
  const path = draft.chardevPaths.get(draft.tpmChardev);
  if (chardev?.backend !== "socket" || path === undefined || chardev.pairs.length > 0 || chardev.log)
    throw refused("-tpmdev chardev", "it is not a plain socket with a path");
  chardev.backend = "tpm";
  return path;
}

/** Readers of the options that take a value. */
export const chardevOptions: Readonly<Record<string, OptionReader>> = {
  "-chardev": readChardev,
  "-serial": readSerial,
  "-parallel": readParallel,
  "-mon": readMon,
  "-monitor": readMonitor,
  "-qmp": readMonitor,
  "-qmp-pretty": readMonitor,
  "-tpmdev": readTpm,
};
