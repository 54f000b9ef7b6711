/**
 * The benchmarks: `bun run bench` with what is to be measured.
 *
 * Without a word: files moved by us and by what a user would pick instead, see comparison.ts. `qemu`:
 * VMs moved as they run, against QEMU's own live migration. `libvirt`: libvirt's domains moved as they run,
 * against libvirt's own ways. `growth`: how our cost grows with the VM and with how many there are. `chunking`: in which pieces an image is best looked for in another. `index`:
 * what the index of a store costs as the store grows. `io`: ways of reading and writing a file.
 */
import { benchPeers } from "./comparison.ts";
import { usage as growthUsage, readOptions as readGrowthOptions } from "./growth/options.ts";
import { benchGrowth } from "./growth/run.ts";
import { usage as libvirtUsage, readOptions as readLibvirtOptions } from "./libvirt/options.ts";
import { benchLibvirt } from "./libvirt/run.ts";
import { readOptions, usage } from "./options.ts";
import { usage as qemuUsage, readOptions as readQemuOptions } from "./qemu/options.ts";
import { benchQemu } from "./qemu/run.ts";

type Run = () => Promise<void>;

/** Progress goes to standard error: what is on standard output can be kept as it is. */
const say = (text: string): void => console.error(text);

const words = process.argv.slice(2);
const [word, ...rest] = words;
let usageOfWord = [
  usage,
  qemuUsage,
  libvirtUsage,
  growthUsage,
  "bun run bench chunking [--size MIB] [--folder DIR]",
  "bun run bench index [--millions 1,4] [--folder DIR]",
  "bun run bench io [--folder DIR] [--size 1024] [--rounds 5]",
].join("\n\n");

/** Reads the command line. Throws an Error with a sentence where it makes no sense. */
function readRun(): Run {
  switch (word) {
    case "qemu": {
      usageOfWord = qemuUsage;
      const options = readQemuOptions(rest);
      return async () => await benchQemu(options, say);
    }
    case "libvirt": {
      usageOfWord = libvirtUsage;
      const options = readLibvirtOptions(rest);
      return async () => await benchLibvirt(options, say);
    }
    case "growth": {
      usageOfWord = growthUsage;
      const options = readGrowthOptions(rest);
      return async () => await benchGrowth(options, say);
    }
    case "chunking":
      return async () => await (await import("./chunking/run.ts")).benchChunking(rest, say);
    case "index":
      return async () => (await import("./index/run.ts")).benchIndex(rest, say);
    case "io":
      return async () => (await import("./io/run.ts")).benchIo(rest, say);
    default: {
      const options = readOptions(words);
      return async () => await benchPeers(options, say);
    }
  }
}

let run: Run;
try {
  run = readRun();
} catch (error) {
  say(`${error instanceof Error ? error.message : error}\n\n${usageOfWord}`);
  process.exit(2);
}
try {
  await run();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
