/** Options that do not travel: those that are left out because the destination decides, and those refused by name. Pure. */
import type { OptionReader } from "./draft.ts";
import { refused } from "./option-syntax.ts";

/** Left out without a note: the destination does the same, or it concerns the source's process alone. */
const silent: OptionReader = () => {};

function leftOut(why: string): OptionReader {
  return (draft, _, option) => draft.note(`${option} is left out: ${why}`);
}

/** Where it is shown there is the destination's own decision: see consoles/display.ts. */
const shows: OptionReader = (draft, _, option) => {
  if (!draft.shownBy.includes(option)) draft.shownBy.push(option);
};
const ownDisplay = leftOut("it is about the display at the source");
const ownProcess = leftOut("it is about the process at the source");

/** Readers of options that take a value and are left out. */
export const leftOutOptions: Readonly<Record<string, OptionReader>> = {
  "-display": (draft, value, option) => {
    if (value !== "none") shows(draft, value, option);
  },
  "-vnc": shows,
  "-spice": shows,
  "-g": ownDisplay,
  "-k": ownDisplay,
  "-incoming": silent,
  "-sandbox": silent,
  "-pidfile": ownProcess,
  "-D": ownProcess,
  "-d": ownProcess,
  "-msg": silent,
  "-seed": ownProcess,
  "-runas": leftOut("which user a VM runs as is the destination's own decision"),
};

/** Readers of options that take no value and are left out, or that concern the VM as a whole. */
export const leftOutSwitches: Readonly<Record<string, OptionReader>> = {
  "-S": silent,
  "-no-user-config": silent,
  "-nodefconfig": silent,
  "-daemonize": silent,
  "-preconfig": silent,
  "-nodefaults": (draft) => {
    draft.noDefaults = true;
  },
  "-nographic": (draft) => {
    draft.nographic = true;
  },
  "-sdl": shows,
  "-curses": shows,
  "-full-screen": ownDisplay,
  "-alt-grab": ownDisplay,
  "-ctrl-grab": ownDisplay,
  "-no-quit": ownDisplay,
  "-show-cursor": ownDisplay,
  "-mem-prealloc": leftOut("the destination reserves no memory before the guest uses it"),
};

const hostFolder = "it gives the VM a folder of its host";
const hostFile = "it names a file of the host";
const sourceProcess = "it changes the process or the user that QEMU runs as";
const debugging = "a VM that is being debugged cannot be moved";

/** Also of a drive that is one. */
export const noFloppy =
  "a floppy disk is not moved. Start the VM without it: a CD (-cdrom) brings files along as well";

/** Why options that a person may well have used cannot travel. */
const refusals: Readonly<Record<string, string>> = {
  "-virtfs": hostFolder,
  "-fsdev": hostFolder,
  "-fda": noFloppy,
  "-fdb": noFloppy,
  "-id":
    "QEMU itself does not know it, Proxmox VE's does. Shut the VM down (qm shutdown), and send its disks as files: --disk",
  "-sd": "an SD card cannot be moved",
  "-mtdblock": "flash memory is moved as a -drive with if=pflash alone",
  "-pflash": "its format is not said; write it as -drive if=pflash,format=raw,file=…",
  "-readconfig": "it names a file with more options; write them on the command line",
  "-writeconfig": hostFile,
  "-plugin": "it loads a program's code",
  "-trace": hostFile,
  "-L": hostFolder,
  "-chroot": sourceProcess,
  "-run-with": sourceProcess,
  "-user": sourceProcess,
  "-loadvm": "it starts from a snapshot within a disk",
  "-fw_cfg": "what it hands to the firmware may be a file of the host",
  "-add-fd": "it is an open file of the source's process",
  "-set": "it changes what other options have said; change them instead",
  "-icount": "the clock of such a VM cannot be moved",
  "-gdb": debugging,
  "-mem-path": "its memory is a file of the host",
  "-acpitable": hostFile,
  "-option-rom": hostFile,
  "-dtb": hostFile,
  "-dumpdtb": hostFile,
  "-shim": hostFile,
  "-debugcon": "write it as -device isa-debugcon",
  "-qtest": debugging,
  "-qtest-log": debugging,
  "-cpr-exec": sourceProcess,
};
const refusedSwitch: Readonly<Record<string, string>> = {
  "-snapshot": "what the guest has written is in a temporary file",
  "-s": debugging,
  "-singlestep": debugging,
  "-one-insn-per-tb": debugging,
  "-semihosting": "it opens the host's files to the guest",
  "-win2k-hack": "newer versions of QEMU do not have it",
};

function refuse(why: string): OptionReader {
  return (_, __, option) => {
    throw refused(option, why);
  };
}

const refuseAll = (whys: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(whys).map(([option, why]) => [option, refuse(why)]));

/** Readers that refuse options with a value. */
export const refusedOptions: Readonly<Record<string, OptionReader>> = refuseAll(refusals);
/** Readers that refuse options without one. */
export const refusedSwitches: Readonly<Record<string, OptionReader>> = refuseAll(refusedSwitch);
