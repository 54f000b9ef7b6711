/** `migrate autostart`: whether a VM is started when this host boots. */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import {
  autostartOff,
  autostartOn,
  requireNoOther,
  type UnitPlace,
  unitPlace,
} from "../../migration/operator/autostart/autostart.ts";
import { findVm } from "../../migration/operator/find-vm.ts";
import { requireStartable } from "../../migration/operator/start.ts";
import { runsHere } from "../../migration/providers/qemu/watching/watched-vm.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { usageErrors } from "../cli/arguments.ts";
import { homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate autostart";

export default defineCommand({
  name,
  summary: "start a VM when this host boots, or no more",
  about:
    "Writes a systemd unit of the VM's own, which starts it with this very program, home and folder, as it ran when it had arrived, and switches it off when the host goes down (its guest has 90 seconds). It needs no migrate serve. As root the unit is the system's (/etc/systemd/system), else this user's own (~/.config/systemd/user). Where systemd does not run, what is left to do is said.",
  positionals: { names: ["NAME", "on|off"], least: 2, about: [nameAbout, "Whether it is started then"] },
  options: { store: storeOption },
  examples: [
    [`${name} web1 on`, "start it at every boot"],
    [`${name} web1 off`, "and no more; whether it runs now does not change"],
  ],
  async run({ options, positionals, world, reporter }) {
    const [given = "", state] = positionals;
    if (state !== "on" && state !== "off") throw usageErrors(name)(`It is on or off, not "${state}"`);
    const home = homeOf(world);
    const place = unitPlace(world.env);
    if (state === "off") {
      const vm = offWhich(home, given, options.store, place);
      const was = await autostartOff(vm, place);
      reporter.result(
        { event: "autostart", name: vm, on: false, ...was },
        was === null
          ? `${vm} was not started at boot`
          : `${vm} is not started at boot any more: ${was.unit} is removed`,
      );
      toldLeft(was?.left ?? []);
      return undefined;
    }
    const found = findVm({ home, given, store: options.store });
    // What cannot be started is not promised.
    requireStartable(found.folder);
    const runs = runsHere({ home, ...found });
    const { unit, left } = await autostartOn({ ...found, home, self: world.self, place, runs });
    reporter.result(
      { event: "autostart", name: found.name, on: true, unit, left },
      `${found.name} is started at boot, by ${unit}`,
    );
    toldLeft(left);
    const [program = ""] = world.self;
    if (/^\/(?:tmp|run|var\/tmp|dev\/shm)\//.test(program))
      reporter.warn(`${program} may be gone after a boot: install migrate, and say this again with that one`);
    const other = place.scope === "system" ? notRootsOwn(program) : null;
    if (other !== null)
      reporter.warn(
        `${other} is not root's own: who may change it is root at the next boot. Install migrate where only root writes, and say this again with that one`,
      );
    if (place.scope === "user")
      reporter.note(
        "A user's units run while the user is logged in; loginctl enable-linger has them start at boot",
      );
    return undefined;

    function toldLeft(commands: readonly string[]): void {
      if (commands.length > 0)
        reporter.note(`systemd does not run here. Where it does, run: ${commands.join(" && ")}`);
    }
  },
});

/** The name of the VM; of one that has gone the unit can be removed as well. Throws as `findVm` and `requireNoOther`. */
function offWhich(home: string, given: string, store: string | undefined, place: UnitPlace): string {
  try {
    const vm = findVm({ home, given, store });
    requireNoOther(vm, place);
    return vm.name;
  } catch (thrown) {
    if (thrown instanceof MigrateError && thrown.code === "vm-invalid" && !given.includes("/")) return given;
    throw thrown;
  }
}

/** What of a program's path another user than root may change; null if nothing is. A sticky folder is root's to that end. */
function notRootsOwn(program: string): string | null {
  for (let path = program; ; path = dirname(path)) {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return path;
    const isShared = (stat.mode & 0o022) !== 0 && (stat.mode & 0o1000) === 0;
    if (stat.uid !== 0 || isShared) return path;
    if (path === dirname(path)) return null;
  }
}
