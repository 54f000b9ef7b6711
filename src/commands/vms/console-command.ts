/** `migrate console`: a person at a serial line of a VM that lives on this host. */
import { findVm } from "../../migration/operator/find-vm.ts";
import { lastWords, openConsole } from "../../migration/providers/qemu/watching/watched-vm.ts";
import { plainText } from "../../terminal/plain-text.ts";
import type { KeyboardInput } from "../../terminal/prompt.ts";
import type { Reporter } from "../../terminal/reporter.ts";
import type { ConsoleLine } from "../../vm/qemu/attendants/console-line.ts";
import { homeOf, type World } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { wholeNumber, withDefault } from "../cli/option.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate console";
/** Ctrl-], as of telnet and virsh. */
const leaveKey = 0x1d;

export default defineCommand({
  name,
  summary: "sit at a serial line of a VM that runs here",
  about:
    "Shows first what the VM said while nobody looked (1 MiB at most; a little of what was said last, if somebody did), as plain text, then the line itself. Ctrl-] leaves it; every other key goes to the guest. Several may look at once: all see what is said, and all may type. Without a terminal, what comes on standard input is typed. Of a VM that does not run it shows what was said last.",
  positionals: { names: ["NAME"], least: 1, about: [nameAbout] },
  options: {
    store: storeOption,
    port: withDefault("N", "Which of its serial lines, the first one being 0", "0", wholeNumber(0, 63)),
  },
  examples: [
    [`${name} web1`, "its first serial line"],
    [`${name} web1 --port 1`, "its second one"],
  ],
  async run({ options, positionals, world, reporter }) {
    const home = homeOf(world);
    const vm = { home, ...findVm({ home, given: positionals[0] ?? "", store: options.store }) };
    const { port } = options;
    const line = await openConsole(vm, port);
    if (line === null) {
      const words = lastWords(vm, port);
      const last = plainText(new TextDecoder().decode(words));
      reporter.aside(
        `${vm.name} does not run. ${words.length === 0 ? "Nothing is kept of what it said." : "What it said last:"}`,
      );
      show(world, reporter, last);
      return undefined;
    }
    const others = line.greeting?.others ?? 0;
    const unseen = line.greeting?.unseen ?? 0;
    const kept =
      line.greeting === null
        ? "; nobody keeps what it says"
        : unseen > 0
          ? `; ${unseen} bytes were not seen yet`
          : "";
    if (reporter.json) reporter.result({ event: "console", name: vm.name, port, ...line.greeting }, "");
    const beside =
      others === 0 ? "" : others === 1 ? "; another one looks as well" : `; ${others} others look as well`;
    reporter.aside(`At serial line ${port} of ${vm.name}${kept}${beside}. Ctrl-] leaves it.`);
    await sit(line, world, reporter);
    reporter.aside(`Left serial line ${port} of ${vm.name}.`);
    return undefined;
  },
});

function show(world: World, reporter: Reporter, text: string): void {
  if (text === "") return;
  if (reporter.json) reporter.result({ event: "serial", text }, "");
  else world.stdout.write(text);
}

/** Resolves when the person leaves, the process is told to end, or the line is closed. */
async function sit(line: ConsoleLine, world: World, reporter: Reporter): Promise<void> {
  const { stdin } = world;
  const isTerminal = stdin.isTTY === true && stdin.setRawMode !== undefined;
  const signal = world.interrupts({ aside: () => {}, clear: () => {} });
  const left = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => left.resolve());
  const decoder = new TextDecoder();
  const typed = (bytes: Buffer) => {
    const leaves = isTerminal ? bytes.indexOf(leaveKey) : -1;
    line.type(Uint8Array.from(leaves < 0 ? bytes : bytes.subarray(0, leaves)));
    if (leaves >= 0) left.resolve();
  };
  if (isTerminal) stdin.setRawMode?.(true);
  try {
    show(world, reporter, plainText(new TextDecoder().decode(line.history)));
    line.listen((bytes) => show(world, reporter, decoder.decode(bytes, { stream: true })));
    listenTo(stdin, typed);
    await Promise.race([left.promise, line.ended]);
  } finally {
    stdin.off("data", typed);
    stdin.pause();
    if (isTerminal) stdin.setRawMode?.(false);
    line.close();
    if (isTerminal) world.stderr.write("\n");
  }
}

function listenTo(stdin: KeyboardInput, typed: (bytes: Buffer) => void): void {
  stdin.on("data", typed);
  stdin.resume();
}
