/**
 * Another host as ssh reaches it: `ssh://[user@]host[:port][/store]`. Nothing that a person or a script writes there may
 * be taken by ssh(1) or by a shell for anything but a user, a host, a port and a path: what is allowed is on a list. Pure.
 */
import { MigrateError } from "../protocol/errors.ts";

export interface SshAddress {
  /** Absent where ssh's own configuration decides (ssh_config(5), User). */
  user?: string;
  /** A name, an alias of ssh's configuration, or an address; IPv6 without its brackets. */
  host: string;
  /** Absent where ssh's own configuration decides. */
  port?: number;
  /** The folder there that the VM goes to, absolute; absent if that host decides. */
  store?: string;
}

const sshScheme = "ssh://";

/** How it is written, for help and sentences. */
const sshForm = "ssh://[USER@]HOST[:PORT][/STORE]";

/** Neither begins with what ssh takes for a flag. */
const userForm = /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$/;
const hostForm = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$/;
const ipv6Form = /^[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,15})?$/;
/** Nothing that a shell, a percent-decoder or a line of the trust file would take for something else. */
const storeForm = /^(?:\/[\p{L}\p{N}._+,=@:~-]+)+$/u;
/** The whole of it names a host in the trust file, which takes 255. */
const mostCharacters = 250;

export const isSshAddress = (text: string): boolean => text.startsWith(sshScheme);

/**
 * Reads an address. Throws MigrateError "usage"; its message ends a sentence that begins with what the address is called.
 */
export function parseSshAddress(text: string): SshAddress {
  const parts = /^ssh:\/\/(?:([^@/]*)@)?(?:\[([^\]/]*)\]|([^:/[\]]*))(?::([^/]*))?(\/.*)?$/u.exec(text);
  if (parts === null || text.length > mostCharacters) throw wrong(`must be ${sshForm}`);
  const [, user, ipv6, name, portText, path] = parts;
  const host = ipv6 ?? name ?? "";
  if (user !== undefined && !userForm.test(user)) throw wrong("names no user that ssh could be given");
  if (!(ipv6 === undefined ? hostForm.test(host) : ipv6Form.test(host)))
    throw wrong("names no host that ssh could be given");
  const port = portText === undefined ? undefined : /^\d{1,5}$/.test(portText) ? Number(portText) : 0;
  if (port !== undefined && (port < 1 || port > 65_535)) throw wrong("has a port that is none");
  const store = path?.replace(/\/$/, "");
  if (store !== undefined && store !== "" && !isStore(store))
    throw wrong("ends in a folder that is none: absolute, without blanks, quotes, % and ..");
  return {
    ...(user === undefined ? {} : { user }),
    host,
    ...(port === undefined ? {} : { port }),
    ...(store ? { store } : {}),
  };
}

/** The same host and folder are always written the same: so sessions and the trust file know them again. */
export function sshAddressText({ user, host, port, store }: SshAddress): string {
  const at = host.includes(":") ? `[${host}]` : host;
  return `${sshScheme}${user === undefined ? "" : `${user}@`}${at}${port === undefined ? "" : `:${port}`}${store ?? ""}`;
}

/** Who is asked, without the folder: as a person types it after `ssh`. */
export function sshLogin({ user, host, port }: SshAddress): string {
  return `${port === undefined ? "" : `-p ${port} `}${user === undefined ? "" : `${user}@`}${host}`;
}

function isStore(path: string): boolean {
  return storeForm.test(path) && !path.split("/").some((part) => part === "." || part === "..");
}

function wrong(message: string): MigrateError {
  return new MigrateError("usage", message, { hint: "For example ssh://root@hostb or ssh://hostb/srv/vms." });
}
