/**
 * A running VM at the destination as seen by a process other than the `migrate serve` that received it:
 * through its run folder, and the spare QMP socket, since that serve may hold the first.
 */
import { join } from "node:path";
import * as v from "valibot";
import { isRunning } from "../../../platform/process-id.ts";
import { endFollowers } from "../../../vm/qemu/attendants/start-attendants.ts";
import { endDaemon } from "../../../vm/qemu/daemon.ts";
import { readModel } from "../../../vm/qemu/definition/schema.ts";
import { connectTo } from "../../../vm/qemu/launch.ts";
import { resumeGuest } from "../../../vm/qemu/outgoing/resume-guest.ts";
import { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import { qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import { RunFolder } from "../../../vm/qemu/run-folder.ts";
import { tpmStateName } from "../../../vm/qemu/swtpm.ts";
import { endLimits } from "../../../vm/qemu/vm-programs.ts";
import type { SessionRecord } from "../../journal/journal.ts";
import type { Resident } from "../arrival.ts";
import { spareQmpName, vmLinkName } from "./arriving-command.ts";
import { channelsAt, setTimeAfter } from "./guest-time.ts";
import { type ArrivingQemuRecord, arrivingQemuRecord, staysPaused } from "./qemu-records.ts";

const statusSchema = v.object({ running: v.boolean() });

/** Returns this session's VM as its run folder in `home` describes it. Reads the folder once. */
export function residentVm(record: SessionRecord, home: string): Resident {
  const run = RunFolder.at(home, record.name);
  const noted = run.noted();
  // A VM of that name that another session brought is not this session's.
  const ours = noted?.session === record.session ? noted : null;
  const isThere = ours?.qemu != null && isRunning(ours.qemu);
  return {
    program: isThere ? "there" : "gone",

    async runs() {
      if (!isThere) return false;
      try {
        using qmp = await connectTo(ours.qemu!, run.socket(spareQmpName));
        return (await qmp.ask(statusSchema, "query-status")).running;
      } catch {
        // If QEMU does not answer, it was not told to run either: `resume` needs its answer.
        return false;
      }
    },

    relink(folder) {
      if (ours === null) return;
      run.link(vmLinkName, folder);
      if (ours.swtpm) run.link(tpmStateName, join(folder, "tpm"));
    },

    async resume() {
      const arriving = arrivingQemuRecord(record);
      if (arriving !== null && staysPaused(arriving)) return;
      try {
        const path = run.socket(spareQmpName);
        using qmp = await (ours?.qemu ? connectTo(ours.qemu, path) : Qmp.connect(path));
        const answer = await resumeGuest(qmp, { announces: arriving?.announce !== false });
        if (answer.outcome === "refused") throw answer.why;
        // Who does this is told by its end: an agent that does not answer holds it up for seconds at most.
        const stoodStill = arriving?.live === false && arriving.setTime !== false;
        await setTimeAfter(qmp, stoodStill ? channelsOf(arriving, run) : []);
      } catch (thrown) {
        throw qmpFailure(thrown, "destination");
      }
    },

    async end() {
      if (ours === null) return;
      if (ours.qemu) await endDaemon(ours.qemu);
      await endFollowers(ours);
      endLimits(ours.session);
      run.remove();
    },
  };
}

function channelsOf({ definition }: ArrivingQemuRecord, run: RunFolder) {
  return channelsAt(run, readModel(definition));
}
