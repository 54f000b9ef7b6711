/** What belongs to a serial line in a VM's run folder. Pure. */
import { qemuSerialName } from "../definition/consoles/serial-lines.ts";

export interface SerialNames {
  /** QEMU's own socket, which serves one caller: the keeper. */
  qemu: string;
  /** The line itself, for any program. */
  program: string;
  /** The line with its history, for `migrate console`. */
  console: string;
  /** What was said. */
  log: string;
}

/** Of the line whose socket has this name (`socketName`); the first one has number 0. */
export function serialNames(name: string, number: number): SerialNames {
  return {
    qemu: qemuSerialName(number),
    program: name,
    console: `migrate-console-${number}`,
    log: `${name}.log`,
  };
}
