/** What ssh says on its standard error when it does not come through, as an error of ours with a way out. Pure. */
import { type ErrorCode, MigrateError } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { type SshAddress, sshLogin } from "./ssh-address.ts";

/** A sentence of ssh's that is shown is cut off here. */
const mostShownCharacters = 200;

interface Kind {
  pattern: RegExp;
  code: ErrorCode;
  sentence: (place: string, said: string) => string;
  hint: (login: string) => string;
}

const byHand = (login: string) => `Try by hand: ssh ${login}`;

/** In the order in which they are looked for: a host's changed key is followed by the words of the next kind. */
const kinds: readonly Kind[] = [
  {
    pattern: /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    code: "not-trusted",
    sentence: (place) => `${place} shows another host key than ssh knows it by`,
    hint: (login) =>
      `Somebody may be in between, or the host was set up anew. Compare the key with that host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there) before you let ssh take it: ssh ${login} says what to do`,
  },
  {
    pattern: /Host key verification failed|host key is known for|key fingerprint is not known/,
    code: "not-trusted",
    sentence: (place) => `ssh does not know ${place} by its host key yet`,
    hint: (login) => `Connect once by hand and compare the key that it shows: ssh ${login}`,
  },
  {
    pattern: /Permission denied|Too many authentication failures|No supported authentication methods/,
    code: "not-trusted",
    sentence: (place, said) => `${place} does not let ssh in${methods(said)}`,
    hint: (login) =>
      `Give it a key (ssh-copy-id ${login}), start an agent with one, or run this on a terminal, where ssh can ask. ${byHand(login)}`,
  },
  {
    pattern: /Bad configuration option|terminating, \d+ bad configuration|Bad owner or permissions on/,
    code: "policy",
    sentence: (_place, said) => `ssh cannot use its configuration here: ${lastLine(said)}`,
    hint: byHand,
  },
  {
    pattern: /no matching .* found|Unable to negotiate/,
    code: "policy",
    sentence: (place, said) => `ssh and ${place} have no way of speaking in common: ${lastLine(said)}`,
    hint: byHand,
  },
  {
    pattern: /Could not resolve hostname/,
    code: "network",
    sentence: (place) => `ssh does not know where ${place} is: the name is not known`,
    hint: byHand,
  },
  {
    pattern: /connect to (?:host|address) .*: Connection refused/,
    code: "network",
    sentence: (place) => `no ssh server answers at ${place}: the connection is refused`,
    hint: (login) => `Is sshd running there, and on that port? ${byHand(login)}`,
  },
];

/** The error for an ssh to `address` that has ended before it was let in, or that lost its connection. */
export function sshFailure(address: SshAddress, said: string): MigrateError {
  const place = placeOf(address);
  const login = sshLogin(address);
  const kind = kinds.find(({ pattern }) => pattern.test(said));
  if (kind !== undefined) {
    return new MigrateError(kind.code, kind.sentence(place, said), {
      side: "source",
      hint: kind.hint(login),
    });
  }
  const line = lastLine(said);
  return new MigrateError("network", `ssh to ${place} failed${line === "" ? "" : `: ${line}`}`, {
    side: "source",
    hint: byHand(login),
  });
}

/** As sentences name the other host. */
export function placeOf({ user, host, port }: SshAddress): string {
  const at = host.includes(":") && port !== undefined ? `[${host}]` : host;
  return `${user === undefined ? "" : `${user}@`}${at}${port === undefined ? "" : `:${port}`}`;
}

/** The last line of what was said, fit to be shown. */
export function lastLine(said: string): string {
  const lines = said
    .split(/[\r\n]+/)
    .map((line) => printable(line).trim())
    .filter((line) => line !== "");
  return (lines.at(-1) ?? "").slice(0, mostShownCharacters);
}

/** "Permission denied (publickey,password)." says what would have been taken. */
function methods(said: string): string {
  const list = /Permission denied \(([a-z0-9,@.-]{1,100})\)/.exec(said)?.[1];
  return list === undefined ? "" : ` (it takes ${list.split(",").join(", ")})`;
}
