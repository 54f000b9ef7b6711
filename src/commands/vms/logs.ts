/** `migrate logs`: what the programs of a VM said, and what the VM itself said on its serial lines. */

import { findVm } from "../../migration/operator/find-vm.ts";
import { LogReader } from "../../migration/providers/qemu/watching/log-reader.ts";
import { programLogs, runsHere, serialLog } from "../../migration/providers/qemu/watching/watched-vm.ts";
import { exitCodes } from "../../protocol/errors.ts";
import { plainText } from "../../terminal/plain-text.ts";
import { homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { toggle, wholeNumber, withDefault } from "../cli/option.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate logs";
/** How often it is looked for more. */
const pollMs = 200;

export default defineCommand({
  name,
  summary: "show what a VM's QEMU and swtpm said here, or the VM itself",
  about:
    "Of the run that goes on, or of the last one: the end of what QEMU and swtpm wrote (1 MiB of each at most), line by line with whose it is. With --serial what the guest said on a serial line instead (the last MiB). Shown is plain text: nothing in it steers the terminal. What a guest says takes 2 MiB a line at most; a long log of QEMU's is shortened by migrate serve. Logs go when the VM is started again.",
  positionals: { names: ["NAME"], least: 1, about: [nameAbout] },
  options: {
    store: storeOption,
    serial: toggle("What the guest said on a serial line"),
    port: withDefault(
      "N",
      "With --serial: which of its lines, the first one being 0",
      "0",
      wholeNumber(0, 63),
    ),
    follow: toggle("Go on showing what is said, until the VM ends or Ctrl-C"),
  },
  examples: [
    [`${name} web1`, "why its QEMU ended"],
    [`${name} web1 --serial --follow`, "what the guest says, as it says it"],
  ],
  async run({ options, positionals, world, reporter }) {
    const home = homeOf(world);
    const vm = { home, ...findVm({ home, given: positionals[0] ?? "", store: options.store }) };
    const words = options.serial ? serialLog(vm, options.port) : programLogs(vm);
    const readers = words.map(({ from, path }) => ({ from, reader: new LogReader(path), rest: "" }));
    let shown = false;
    const show = (from: string, text: string) => {
      if (text === "") return;
      shown = true;
      if (reporter.json) reporter.result({ event: "log", from, text }, "");
      else if (options.serial) world.stdout.write(text);
      else world.stdout.write(text.replaceAll(/^(?=.)/gm, `${from}: `));
    };
    const look = (isLast: boolean) => {
      for (const log of readers) {
        const text = log.rest + plainText(log.reader.more());
        // A serial line shows as it grows; of programs whole lines are shown.
        const end = options.serial || isLast ? text.length : text.lastIndexOf("\n") + 1;
        log.rest = text.slice(end);
        show(
          log.from,
          isLast && !options.serial && end > 0 && !text.endsWith("\n") ? `${text}\n` : text.slice(0, end),
        );
      }
    };
    const signal = options.follow ? world.interrupts({ aside: () => {}, clear: () => {} }) : undefined;
    // Asked first: the last words of one that ends in between are not missed.
    let runs = runsHere(vm);
    look(signal === undefined || !runs);
    while (signal !== undefined && runs && !signal.aborted) {
      await Bun.sleep(pollMs);
      runs = runsHere(vm);
      look(!runs);
    }
    for (const { reader } of readers) reader.close();
    if (!shown)
      reporter.aside(`Nothing is kept of what ${options.serial ? vm.name : `${vm.name}'s programs`} said.`);
    return signal?.aborted === true ? exitCodes.interrupted : undefined;
  },
});
