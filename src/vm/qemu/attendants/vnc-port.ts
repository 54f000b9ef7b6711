/** The port on which a VM's relay shows its screen, as it lies in the run folder. */
import { closeSync, readSync } from "node:fs";
import type { RunFolder } from "../run-folder.ts";
import { openToRead } from "./serial-log.ts";

/** Display :0 of VNC (RFC 6143, 8.1.1), and the last one that is tried. */
export const firstVncPort = 5900;
export const lastVncPort = 5999;
export const vncPortName = "vnc.port";

/** Null if no relay has said so. The VM's own user may write there: what is no such port is none. */
export function vncPort(run: RunFolder): number | null {
  const fd = openToRead(run.socket(vncPortName));
  if (fd === null) return null;
  try {
    const text = Buffer.alloc(16);
    const port = Number(text.toString("latin1", 0, readSync(fd, text, 0, text.length, 0)).trim());
    return Number.isInteger(port) && port >= firstVncPort && port <= lastVncPort ? port : null;
  } finally {
    closeSync(fd);
  }
}
