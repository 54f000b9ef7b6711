/**
 * What is run on the other host before this program is there: two small scripts for sh (POSIX.1-2017), each one word of
 * a command. Whatever shell the account has, it sees `exec sh -c '…' migrate WORD…`: the scripts hold no single quote,
 * no line end and no `!`, and each word that follows is quoted. Pure.
 */
import { MigrateError } from "../protocol/errors.ts";

/** What begins each line of an answer: a login script may print anything before and between. */
const answerMark = "migrate:";

/** `words` as one command for the other host's login shell. Throws MigrateError "bug" for a word that cannot be quoted. */
export function remoteCommand(words: readonly string[]): string {
  return `exec ${words.map(quoted).join(" ")}`;
}

function quoted(word: string): string {
  if (/[\0\n\r'!]/.test(word))
    throw new MigrateError("bug", "a word for another host's shell cannot be quoted");
  return `'${word}'`;
}

/** Where the copies of this program lie there, each under its hash; a relative XDG_CACHE_HOME counts for nothing. */
const findCache =
  "cache=$XDG_CACHE_HOME; case $cache in /*) ;; *) cache=$HOME/.cache ;; esac; cache=$cache/migrate";

/** Of a file: its SHA-256 if it has as many bytes as ours, which is quickly known; else nothing. */
const hashIfAlike =
  'alike() { [ -f "$1" ] && [ "$(wc -c <"$1")" -eq "$size" ] && sha256sum <"$1" | cut -c1-64; }';

const lookScript = [
  "hash=$1; size=$2; store=$3",
  `say() { printf "${answerMark}%s=%s\\n" "$1" "$2"; }`,
  hashIfAlike,
  'say system "$(uname -s)"',
  'say machine "$(uname -m)"',
  "uid=$(id -u)",
  'say uid "$uid"',
  'say user "$(id -un)"',
  'if [ "$uid" = 0 ]; then say root yes; elif command -v sudo >/dev/null 2>&1; then if sudo -n true </dev/null >/dev/null 2>&1; then say root sudo; else say root asks; fi; else say root none; fi',
  findCache,
  'say cache "$cache"',
  "for tool in sha256sum zstd gzip; do if command -v $tool >/dev/null 2>&1; then say has $tool; fi; done",
  'say cached "$(alike "$cache/$hash/migrate")"',
  'own=$(command -v migrate) && say path "$own" && say pathhash "$(alike "$own")" && say pathversion "$("$own" --version 2>/dev/null </dev/null | head -n 1 | cut -c1-80)"',
  'at=$store; until [ -z "$at" ] || [ "$at" = / ] || [ -e "$at" ]; do at=$(dirname "$at"); done',
  'if [ -n "$at" ] && [ -w "$at" ]; then say writable yes; fi',
  'say connection "$SSH_CONNECTION"',
  "say end yes",
].join("; ");

/**
 * The command that looks what is there: system, user, what of root it may have, which copies of this program.
 * `hash` and `bytes` are those of this very program; `store` is the folder that was asked for, or empty.
 */
export function lookCommand(hash: string, bytes: number, store: string): string {
  return remoteCommand(["sh", "-c", lookScript, "migrate", hash, String(bytes), store]);
}

/** Exit codes of the copying script, of sysexits.h's range; see `copyFailure` of carry-program.ts. */
export const copyExits = { folder: 73, writing: 74, hash: 75, running: 76 } as const;

const copyScript = [
  "hash=$1; tool=$2; umask 077",
  findCache,
  "folder=$cache/$hash",
  `mkdir -p "$folder" || exit ${copyExits.folder}`,
  'new="$folder/.new.$$"',
  'trap "rm -f \\"$new\\"" EXIT',
  'trap "exit 1" HUP INT TERM',
  `case $tool in zstd) zstd -q -dc;; gzip) gzip -dc;; *) cat;; esac >"$new" || exit ${copyExits.writing}`,
  `[ "$(sha256sum <"$new" | cut -c1-64)" = "$hash" ] || exit ${copyExits.hash}`,
  // The user of a VM runs it as well, for the VM's serial lines; the folders above are the account's alone.
  'chmod 755 "$new"',
  `"$new" --version </dev/null >/dev/null 2>&1 || exit ${copyExits.running}`,
  'mv -f "$new" "$folder/migrate"',
].join("; ");

/**
 * The command that takes this program from its standard input, packed by `tool` ("none" if it is not): under a name of
 * its own until its hash is what it must be and it runs, so that two who copy at once do not hurt each other.
 */
export function copyCommand(hash: string, tool: string): string {
  return remoteCommand(["sh", "-c", copyScript, "migrate", hash, tool]);
}

const removeScript = [
  findCache,
  'rm -rf "$cache/$1"',
  'rmdir "$cache" 2>/dev/null',
  'if [ -e "$cache/$1" ]; then exit 1; fi; exit 0',
].join("; ");

/** The command that removes the copy again. */
export function removeCommand(hash: string): string {
  return remoteCommand(["sh", "-c", removeScript, "migrate", hash]);
}
