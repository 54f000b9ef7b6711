/** The clock of a guest that stood still while it was moved: its agent is asked to set it, if it has one. */
import { isAbsolute } from "node:path";
import { argumentsOf } from "../../../platform/process-id.ts";
import {
  type Agent,
  type AgentChannel,
  findAgent,
  setGuestTime,
} from "../../../vm/qemu/agent/guest-agent.ts";
import { readDefinition } from "../../../vm/qemu/definition/definition.ts";
import { agentChannels, type VmModel } from "../../../vm/qemu/definition/model.ts";
import type { Qmp } from "../../../vm/qemu/qmp/qmp.ts";
import type { RunFolder } from "../../../vm/qemu/run-folder.ts";

/**
 * QEMU tells that a guest has a channel open once the guest has run for a moment after it was loaded
 * (hw/char/virtio-serial-bus.c, virtio_serial_post_load_timer_cb). So often, and after so many milliseconds each, it is
 * asked.
 */
const mostLooks = 5;
const betweenLooksMs = 100;

/**
 * Has the agent of a VM that has just gone on set the clock. A VM that has none, or a QEMU that cannot be asked, is no
 * reason for anything. Returns what is to be told; null if there is nothing. Never throws; `qmp` is left open.
 */
export async function setTimeAfter(qmp: Qmp, channels: readonly AgentChannel[]): Promise<string | null> {
  if (channels.length === 0) return null;
  try {
    for (let look = 1; look <= mostLooks; look++) {
      const agent = await findAgent(qmp, channels);
      if (agent !== null) return await setBy(agent);
      await Bun.sleep(betweenLooksMs);
    }
  } catch {
    // It runs without.
  }
  return null;
}

async function setBy(agent: Agent): Promise<string | null> {
  const failure = agent.kind === "taken" ? "another program speaks to it" : await setGuestTime(agent.path);
  return failure === null ? null : `the guest's clock was not set by its agent: ${failure}`;
}

/** The channels of a VM that runs from this run folder. */
export function channelsAt(run: RunFolder, model: VmModel): AgentChannel[] {
  return agentChannels(model).map((id) => ({ id, path: run.socket(id) }));
}

/** The channels of a QEMU that somebody else started, by its command line; those with a relative path are left out. */
export function channelsOfProcess(pid: number): AgentChannel[] {
  const argv = argumentsOf(pid);
  const { definition } = argv === null ? { definition: null } : readDefinition(argv);
  if (definition === null || argv === null) return [];
  return agentChannels(definition).flatMap((id) => {
    const path = pathOfChardev(argv, id);
    return path !== null && isAbsolute(path) ? [{ id, path }] : [];
  });
}

/** As -chardev names it: "socket,id=ID,path=PATH,server=on" (qemu(1)). */
function pathOfChardev(argv: readonly string[], id: string): string | null {
  const value = argv.find((word, i) => argv[i - 1] === "-chardev" && word.split(",").includes(`id=${id}`));
  const path = value?.split(",").find((part) => part.startsWith("path="));
  return path === undefined ? null : path.slice("path=".length);
}
