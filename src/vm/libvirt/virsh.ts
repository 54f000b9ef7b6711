/**
 * libvirt as its own client reaches it: virsh(1), one process a question. What the daemon says is thus read by a
 * program of its own, and a libvirt of any version is spoken to in its own words (docs/decisions, virsh).
 */
import { which } from "../../platform/host.ts";
import { MigrateError, type Side } from "../../protocol/errors.ts";
import { printable } from "../../protocol/printable.ts";
import { programEnvironment } from "../confinement/environment.ts";

/** Longest answer, in bytes: a domain's XML, or the list of all. */
const mostBytes = 4 * 2 ** 20;
/** How long a question may take. What saves or moves a VM has limits of its own. */
const usualMs = 30_000;
/** After how long a daemon that does not answer is tried again. */
const betweenTriesMs = 200;
/** Of what virsh complains, so much is shown. */
const mostShown = 400;

/** The daemon of this host that runs system VMs: a user's own session has other folders, and no rights to what is needed. */
export const systemUri = "qemu:///system";

export interface VirshOptions {
  /** In milliseconds; Infinity waits for as long as it takes. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** What virsh finds in `stdinFile`. */
  input?: string;
}

/** The file by which virsh is given XML: it lies nowhere, for anybody to read or for nobody to take away. */
export const stdinFile = "/dev/stdin";

/** What libvirt says for itself: it may name files of this host, and is not for a peer. */
export class LibvirtError extends MigrateError {}

interface StartOptions {
  signal?: AbortSignal;
  endsWithParent?: boolean;
  stdin?: "ignore" | "pipe" | Buffer;
}

export class Virsh {
  readonly uri: string;
  readonly side: Side;

  /** Throws MigrateError "usage" if the URI is not that of a system daemon of this host. */
  constructor(uri: string, side: Side) {
    this.uri = checkUri(uri);
    this.side = side;
  }

  /**
   * Returns what virsh writes. Throws MigrateError "libvirt-failed" with virsh's own reason, "vm-invalid" if there is no
   * such domain, and "policy" if libvirt cannot be reached.
   */
  async run(words: readonly string[], options: VirshOptions = {}): Promise<string> {
    const { code, out, errors } = await this.ask(words, options);
    if (code === 0) return out;
    throw this.failure(words[0]!, errors);
  }

  /** Resolves once the daemon answers, or `withinMs` milliseconds are over: what is asked next tells. Never throws. */
  async reached(withinMs: number): Promise<void> {
    const lateAtMs = performance.now() + withinMs;
    for (;;) {
      const answer = await this.ask(["version", "--daemon"]).catch(() => undefined);
      const isDead = answer !== undefined && answer.code !== 0 && isUnreachable(answer.errors);
      if (!isDead || performance.now() > lateAtMs) return;
      await Bun.sleep(betweenTriesMs);
    }
  }

  /** As `run`, but returns null if there is no such domain. */
  async find(words: readonly string[], options: VirshOptions = {}): Promise<string | null> {
    const { code, out, errors } = await this.ask(words, options);
    if (code === 0) return out;
    if (isNoDomain(errors) && !isUnreachable(errors)) return null;
    throw this.failure(words[0]!, errors);
  }

  /** Runs virsh; returns its exit code and what it wrote. Throws MigrateError if it cannot be run, or writes too much. */
  async ask(
    words: readonly string[],
    { timeoutMs = usualMs, signal, input }: VirshOptions = {},
  ): Promise<{ code: number; out: string; errors: string }> {
    const child = this.start(words, {
      ...(signal === undefined ? {} : { signal }),
      ...(input === undefined ? {} : { stdin: Buffer.from(input) }),
    });
    const timer = Number.isFinite(timeoutMs) ? setTimeout(() => child.kill("SIGKILL"), timeoutMs) : undefined;
    try {
      const [out, errors, code] = await Promise.all([
        bounded(child.stdout),
        bounded(child.stderr),
        child.exited,
      ]);
      if (child.signalCode === "SIGKILL") {
        throw this.#failed(`libvirt has not answered ${words[0]} within ${timeoutMs / 1000} s`);
      }
      return { code, out, errors };
    } finally {
      clearTimeout(timer);
      child.kill("SIGKILL");
    }
  }

  /**
   * Starts virsh, and leaves it to the caller. What waits for ever is to end with this process, however that ends:
   * `endsWithParent`, as far as setpriv(1) is there. Throws MigrateError "policy" if it is not there.
   */
  start(words: readonly string[], { signal, endsWithParent = false, stdin = "ignore" }: StartOptions = {}) {
    const program = which("virsh");
    if (program === null) {
      throw new MigrateError("policy", "virsh is not installed: VMs of libvirt cannot be reached", {
        side: this.side,
        hint: "install libvirt's client (apt-get install libvirt-clients)",
      });
    }
    const setpriv = endsWithParent ? which("setpriv") : null;
    const prefix = setpriv === null ? [] : [setpriv, "--pdeathsig", "KILL", "--"];
    return Bun.spawn([...prefix, program, "-q", "-c", this.uri, ...words], {
      stdin,
      stdout: "pipe",
      stderr: "pipe",
      cwd: "/",
      env: programEnvironment,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** The error for what virsh complains of, while it did `what`. */
  failure(what: string, errors: string): LibvirtError {
    const said = printable(reasonOf(errors), " ").slice(0, mostShown);
    if (isNoDomain(errors) && !isUnreachable(errors)) {
      return new LibvirtError("vm-invalid", `libvirt knows no such domain (${said})`, {
        side: this.side,
        hint: "see migrate ls, or virsh list --all",
      });
    }
    if (isUnreachable(errors)) {
      return new LibvirtError("policy", `libvirt cannot be reached at ${this.uri}: ${said}`, {
        side: this.side,
        hint: "see that libvirtd (or virtqemud) runs, and that this user may speak to it",
      });
    }
    return this.#failed(`libvirt cannot ${what}: ${said}`);
  }

  #failed(message: string): LibvirtError {
    return new LibvirtError("libvirt-failed", message, { side: this.side });
  }
}

/** Returns the URI. Throws MigrateError "usage" if it is another than of a system daemon of this host. */
export function checkUri(uri: string): string {
  const how = (message: string) =>
    new MigrateError("usage", message, { hint: `The VMs of a host are at ${systemUri}.` });
  if (/^qemu(?:\+unix)?:\/\/\/session/.test(uri)) {
    throw how(`${uri} is a user's own libvirt session: what is moved belongs to the system's`);
  }
  if (/^qemu(?:\+unix)?:\/\/\/system(?:\?socket=\/[\w./-]{1,100})?$/.test(uri)) return uri;
  throw how(`${printable(uri)} is not a libvirt URI of this host's QEMU VMs`);
}

/** virsh says where it was before it says why: the last line is the reason. */
function reasonOf(errors: string): string {
  const lines = errors
    .split("\n")
    .map((line) => line.replace(/^error:\s*/, "").trim())
    .filter((line) => line !== "");
  return lines.at(-1) ?? "it gave no reason";
}

function isUnreachable(errors: string): boolean {
  return /failed to connect to the hypervisor|cannot recv data|end of file while reading/i.test(errors);
}

function isNoDomain(errors: string): boolean {
  // The second line, with the reason, is left out by some.
  return /Domain not found|no domain with matching|failed to get domain/i.test(errors);
}

async function bounded(stream: ReadableStream<Uint8Array>): Promise<string> {
  const text = new TextDecoder();
  let whole = "";
  for await (const piece of stream) {
    whole += text.decode(piece, { stream: true });
    if (whole.length > mostBytes) throw new MigrateError("limit", "libvirt's answer is too long");
  }
  return whole;
}
