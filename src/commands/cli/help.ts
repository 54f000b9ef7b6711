/** The help of commands and of groups of commands. Pure text, at most 80 columns. */
import { exitCodes } from "../../protocol/errors.ts";
import { padEnd, wrapped } from "../../terminal/line.ts";
import { flagOf } from "./arguments.ts";
import type { CommandSpec } from "./define-command.ts";
import type { Option, Options } from "./option.ts";

const widestColumns = 80;
const widestHead = 27;

const exitTexts: Record<keyof typeof exitCodes, string> = {
  done: "done",
  bug: "a bug of ours",
  usage: "usage",
  notTrusted: "not trusted",
  network: "network (after all retries)",
  integrity: "integrity",
  refused: "refused: by this host (not found, in use), the other side (name taken, no room, policy) or QEMU",
  inDoubt: "ownership in doubt",
  interrupted: "interrupted",
};

/** A command's whole help: usage, flags with their defaults, examples, exit codes. */
export function commandHelp(spec: CommandSpec<Options>): string {
  const { positionals } = spec;
  const flags: [string, string][] = Object.entries(spec.options).map(([name, option]) => [
    option.takes === undefined ? flagOf(name) : `${flagOf(name)} ${option.takes}`,
    aboutOption(option),
  ]);
  flags.push(["--json", "One JSON object a line on standard output, nothing else there"]);
  flags.push(["-h, --help", "This text"]);
  const sections = [titleOf(spec.name, spec.summary), section("Usage", spec.usage ?? [usageOf(spec)])];
  if (spec.about !== undefined) sections.push(wrap(spec.about, widestColumns).join("\n"));
  if (positionals !== undefined && positionals.names.length > 0)
    sections.push(
      section("Arguments", columns(positionals.names.map((name, at) => [name, positionals.about[at] ?? ""]))),
    );
  sections.push(section("Flags", columns(flags)));
  sections.push(
    section(
      "Example",
      spec.examples.flatMap(([line, what]) => [`# ${what}`, line]),
    ),
  );
  sections.push(section("Exit codes", exitLines()));
  return sections.join("\n\n");
}

/** The help of `migrate` itself, or of a command that has commands. */
export function groupHelp(
  name: string,
  summary: string,
  commands: readonly (readonly [name: string, summary: string])[],
  more: readonly string[] = [],
): string {
  return [
    titleOf(name, summary),
    section("Usage", [`${name} COMMAND [ARGUMENTS] [FLAGS]`]),
    section("Commands", columns(commands)),
    ...more,
    `${name} COMMAND --help says more of each.`,
  ].join("\n\n");
}

function usageOf(spec: CommandSpec<Options>): string {
  const parts = [spec.name];
  for (const [at, name] of (spec.positionals?.names ?? []).entries())
    parts.push(at < (spec.positionals?.least ?? 0) ? name : `[${name}]`);
  for (const [name, option] of Object.entries(spec.options)) {
    const flag = option.takes === undefined ? flagOf(name) : `${flagOf(name)} ${option.takes}`;
    parts.push(option.needed ? flag : `[${flag}]${option.repeats ? "..." : ""}`);
  }
  parts.push("[--json]");
  return wrapped(parts, widestColumns - 6).join("\n      ");
}

function aboutOption(option: Option<unknown>): string {
  const notes = [
    ...(option.needed ? ["needed"] : []),
    ...(option.repeats ? ["may be repeated"] : []),
    ...(option.fallback === undefined ? [] : [`default ${option.fallback}`]),
  ];
  return notes.length === 0 ? option.about : `${option.about} (${notes.join("; ")})`;
}

function exitLines(): string[] {
  const texts = Object.entries(exitCodes).map(
    ([name, code]) => `${code} ${exitTexts[name as keyof typeof exitCodes]}`,
  );
  return wrap(texts.join(", "), widestColumns - 2);
}

function section(title: string, lines: readonly string[]): string {
  return [`${title}:`, ...lines.map((line) => `  ${line}`)].join("\n");
}

/** A head that is wider than most has a line of its own. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(widestHead, Math.max(...rows.map(([head]) => head.length)));
  return rows.flatMap(([head, text]) => {
    const lines = wrap(text, widestColumns - width - 4);
    const [first = "", ...rest] = head.length > width ? ["", ...lines] : lines;
    return [
      `${padEnd(head, width)}  ${first}`.trimEnd(),
      ...rest.map((line) => " ".repeat(width + 2) + line),
    ];
  });
}

function titleOf(name: string, summary: string): string {
  return wrapped(`${name}: ${summary}.`, widestColumns).join("\n");
}

/** Paragraphs (parted by an empty line) broken into lines. */
function wrap(text: string, width: number): string[] {
  return text
    .split("\n\n")
    .flatMap((paragraph, at) => [...(at === 0 ? [] : [""]), ...wrapped(paragraph, width)]);
}
