/** The sentences in which events and errors are reported to a person. Pure; every string from the other side is made harmless. */
import type { MigrationEvent } from "../migration/report/events.ts";
import type { ErrorContext, MigrateError, Side } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { formatBytes, formatBytesExactly, formatDuration, formatRate } from "./format.ts";

type EventOf<Name extends MigrationEvent["event"]> = Extract<MigrationEvent, { event: Name }>;

/** What `serve` prints when it is ready; the command line stands alone so that it is easy to copy. */
export function listeningText(event: EventOf<"listening">): string {
  const lines = [`Listening on ${printable(event.address)}, store ${printable(event.store)}`];
  const reached = event.addresses.map((address) => printable(address)).join(", ");
  if (reached !== printable(event.address)) lines.push(`Reached at ${reached}`);
  if (event.fingerprint !== undefined) lines.push(`Fingerprint ${event.fingerprint}`);
  for (const { what, path } of event.delivers)
    lines.push(`Delivers to ${printable(path)}: ${printable(what)}`);
  lines.push(sendLineText(event));
  return lines.join("\n");
}

/** The command line for the source, alone on its line, and so the ticket. */
export function sendLineText({
  command,
  ticket,
  qemu,
  libvirt,
}: Pick<EventOf<"listening">, "command" | "ticket" | "qemu" | "libvirt">): string {
  const vm = [
    ...(libvirt ? ["libvirt:NAME"] : []),
    ...(qemu ? ["qmp:PATH of a VM that runs"] : []),
    qemu ? "the folder of one that does not," : "the VM's folder",
  ].join(", or ");
  const lines = [`On the source run, with ${vm} for VM:`, "", `  ${printable(command)}`, ""];
  if (ticket !== undefined) lines.push("The ticket that it asks for:", "", `  ${printable(ticket)}`, "");
  return lines.join("\n");
}

/** What `serve` prints once it knows what its store holds. */
export function indexedText({ files, bytesRead, seconds }: EventOf<"indexed">): string {
  const what = files === 1 ? "1 file" : `${files} files`;
  return `Indexed ${what} of the store: ${formatBytes(bytesRead)} read in ${formatDuration(seconds * 1000)}`;
}

/** "Sending web1 (1.3 GiB) to sha256:…" as each side sees it. */
export function sessionText(event: EventOf<"session">): string {
  const verb = event.side === "source" ? "Sending" : "Receiving";
  const towards = event.side === "source" ? "to" : "from";
  const kind = event.mode === "copy" ? "a copy of " : "";
  const resumed = event.resumed ? ", resuming where it stopped" : "";
  return `${verb} ${kind}${printable(event.name)} (${formatBytes(event.bytes)}) ${towards} ${printable(event.peer)}${resumed}`;
}

export function linkText(event: EventOf<"link">): string {
  const name = printable(event.name);
  if (event.state === "restored") return `${name}: the link is back`;
  const lost = `${name}: link lost (${printable(event.message)}), trying again`;
  if (event.attempt === 0) return lost;
  return `${lost} in ${formatDuration(event.retryInMs)} (attempt ${event.attempt})`;
}

const afterTexts: Record<EventOf<"done">["after"], string> = {
  keep: "The source's files stay where they are; it will not send them as their owner again.",
  rename: "The source's files now end in .migrated.",
  delete: "The source's files are deleted.",
  copy: "The source keeps the VM and owns it still.",
};

/** The same of a VM that came as one under QEMU; such a VM is moved, never copied. */
const afterRunningTexts: typeof afterTexts = {
  ...afterTexts,
  keep: `Its QEMU here has ended. ${afterTexts.keep}`,
  rename: "Its QEMU here has ended, and its files here now end in .migrated.",
  delete: "Its QEMU here has ended, and its files here are deleted.",
};

/** The same of a domain of libvirt. */
const afterDomainTexts: typeof afterTexts = {
  ...afterTexts,
  keep: `libvirt here has forgotten it. ${afterTexts.keep}`,
  rename: "libvirt here has forgotten it, and its files here now end in .migrated.",
  delete: "libvirt here has forgotten it, and its files here are deleted.",
};

/** What was done, in a sentence or two. */
function outcomeText({ name, side, mode, owner, runs, downtimeMs }: EventOf<"done">): string {
  const vm = printable(name);
  if (runs === undefined) {
    const what = mode === "copy" ? "copied" : side === "source" ? "moved" : "received";
    return `${vm} ${what}. Its owner is the ${owner}.`;
  }
  const where = side === "source" ? "on the destination" : "here";
  if (!runs) return `${vm} is ${where} now, paused as it was.`;
  // In milliseconds even if there are seconds of them: this is the figure that a live move is judged by.
  const still = downtimeMs === undefined ? "" : ` It stood still for ${Math.round(downtimeMs)} ms.`;
  return `${vm} runs ${where} now.${still}`;
}

/** What the digest was compared with, where files are what it is about. */
function checkedText({ runs, readBack }: EventOf<"done">): string {
  const checked = "checked by both sides";
  if (runs !== undefined && readBack === "none") return checked;
  switch (readBack) {
    case "memory":
      return `${checked}; the destination has read its files back`;
    case "disk":
      return `${checked}; the destination has read its files back from the disk`;
    case "none":
      return `${checked} as it came; its files there were not read back (migrate verify does)`;
    default:
      return checked;
  }
}

/** The closing summary of a session. */
export function doneText(event: EventOf<"done">): string {
  const rate = event.seconds > 0 ? ` (${formatRate(event.bytes / event.seconds)})` : "";
  const ofOthers = event.runs === undefined ? afterTexts : afterRunningTexts;
  const afters = event.manager === "libvirt" ? afterDomainTexts : ofOthers;
  return [
    outcomeText(event),
    `  ${formatBytesExactly(event.bytes)} in ${formatDuration(event.seconds * 1000)}${rate}`,
    `  ${formatBytesExactly(event.wireBytes)} on the wire`,
    ...(event.foundBytes > 0
      ? [`  ${formatBytesExactly(event.foundBytes)} were at the destination already`]
      : []),
    ...(event.repeatedBytes > 0
      ? [`  ${formatBytesExactly(event.repeatedBytes)} are in the VM more than once`]
      : []),
    `  digest ${printable(event.digest)}, ${checkedText(event)}`,
    ...(event.proven === undefined ? [] : [`  (${printable(event.proven)})`]),
    ...(event.leftBehind ?? []).map((what) => `  left behind: ${printable(what)}`),
    ...(event.folder === undefined ? [] : [`  It lies in ${printable(event.folder)}`]),
    // What became of the source's files is the source's to say.
    ...(event.side === "source" ? [`  ${afters[event.after]}`] : []),
    "",
  ].join("\n");
}

export interface Failure {
  message: string;
  code: string;
  side?: Side | undefined;
  phase?: string | undefined;
  hint?: string | undefined;
  session?: string | undefined;
  /** Of the VM. */
  name?: string | undefined;
}

/** What happened, on which side and in which phase; then, on a line of its own, what to do. */
export function failureText(failure: Failure): string {
  const where = [
    ...(failure.side === undefined ? [] : [`on the ${failure.side}`]),
    ...(failure.phase === undefined ? [] : [`in ${printable(failure.phase)}`]),
    `code ${failure.code}`,
  ];
  const hint =
    failure.hint === undefined
      ? ""
      : `\n  ${failure.hint
          .split("\n")
          .map((line) => printable(line))
          .join("\n  ")}`;
  const lead = failure.code === "bug" ? "a bug in migrate: " : "";
  return `${lead}${printable(failure.message)} (${where.join(", ")})${hint}`;
}

/** What is known of a failure where the error does not say. */
export type FailureContext = Pick<ErrorContext, "side" | "phase" | "session" | "vm">;

/** An error as the fields that are reported; what neither it nor `context` knows is left out. */
export function failureOf(error: MigrateError, context: FailureContext = {}): Failure {
  return {
    code: error.code,
    side: error.side ?? context.side,
    phase: error.phase ?? context.phase,
    message: error.message,
    hint: error.hint,
    session: error.session ?? context.session,
    name: error.vm ?? context.vm,
  };
}
