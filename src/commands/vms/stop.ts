/** `migrate stop`: ends a VM that runs on this host. */
import { findVm } from "../../migration/operator/find-vm.ts";
import { stopVm } from "../../migration/operator/stop.ts";
import { homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { duration, toggle, withDefault } from "../cli/option.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate stop";
/** How often it is said that the guest is still waited for. */
const sayMs = 5000;

export default defineCommand({
  name,
  summary: "switch a VM off that runs here",
  about:
    "Presses the guest's power button and waits until it has switched itself off; its virtual TPM ends with it. A guest that does not listen stays as it is, with exit code 6: --now ends its QEMU, which to the guest is a power cut. What it said stays for migrate logs. A VM that is on its way here or from here is refused.",
  positionals: { names: ["NAME"], least: 1, about: [nameAbout] },
  options: {
    store: storeOption,
    timeout: withDefault("TIME", "How long the guest may take", "60s", duration(0, 24 * 3_600_000)),
    now: toggle("Do not ask the guest: end its QEMU, as a power cut would"),
  },
  examples: [
    [`${name} web1`, "press its power button, and wait a minute"],
    [`${name} web1 --timeout 10m`, "a guest that installs updates first"],
    [`${name} web1 --now`, "one that does not listen"],
  ],
  async run({ options, positionals, world, reporter }) {
    const home = homeOf(world);
    const vm = findVm({ home, given: positionals[0] ?? "", store: options.store });
    const { now, timeout: timeoutMs } = options;
    if (now)
      reporter.warn(
        `${vm.name} is ended as by a power cut: what its guest has not written to its disks is lost`,
      );
    let saidMs = 0;
    const how = await stopVm({
      home,
      ...vm,
      now,
      timeoutMs,
      waiting: (waitedMs) => {
        if (waitedMs - saidMs < sayMs) return;
        saidMs = waitedMs;
        reporter.note(
          `${vm.name}: its guest has been told to switch itself off ${Math.round(waitedMs / 1000)} s ago`,
        );
      },
      signal: world.interrupts(reporter),
    });
    const said = {
      "was-off": `${vm.name} does not run`,
      "switched-off": `${vm.name} has switched itself off`,
      cut: `${vm.name} was ended`,
    }[how];
    reporter.result({ event: "ended", name: vm.name, how }, said);
    return undefined;
  },
});
