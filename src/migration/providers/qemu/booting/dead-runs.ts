/** The run folders that VMs left here which have ended: logs, and what was noted of their processes. */
import { basename } from "node:path";
import { deadRunFolders } from "../../../../vm/qemu/run-upkeep.ts";
import { lockRun } from "./running-here.ts";

export interface DeadRun {
  path: string;
  changedAtMs: number;
  /** Removes it, unless a VM is being started in it. False if it is in use by now. Throws as node:fs does. */
  remove(): boolean;
}

/** `isOpen` tells of a session whether it has not ended: its folder is none of these. Never throws. */
export function deadRuns(home: string, isOpen: (session: string) => boolean, nowMs: number): DeadRun[] {
  return deadRunFolders(home, isOpen, nowMs).map(({ folder, changedAtMs }) => ({
    path: folder.path,
    changedAtMs,
    remove() {
      const unlock = lockRun(folder, basename(folder.path));
      try {
        const isStill = deadRunFolders(home, isOpen, Date.now()).some(
          (dead) => dead.folder.path === folder.path && dead.changedAtMs === changedAtMs,
        );
        if (isStill) folder.remove();
        return isStill;
      } finally {
        unlock();
      }
    },
  }));
}
