/** `migrate vm-policy`: the rules that a VM keeps wherever it is. */
import { findVm } from "../../migration/operator/find-vm.ts";
import { policyAt, setPolicyAt } from "../../migration/operator/vm-policy.ts";
import { isAsTight, parsePolicy, policyText, rulesOf } from "../../protocol/vm-policy.ts";
import { readValue, usageErrors } from "../cli/arguments.ts";
import { confirmed, homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { toggle } from "../cli/option.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate vm-policy";

export default defineCommand({
  name,
  summary: "show or set the rules that a VM keeps wherever it is",
  about:
    "attested: the VM goes to hosts alone that prove what they run. no-copies: it is never copied. The rules are in its vm.json and go with it; the host that sends it and the one that takes it keep to them. Whoever sends it may add some (send --vm-policy). Taken away they are here alone, where the VM lies, and that is asked before.",
  positionals: {
    names: ["NAME", "RULES"],
    least: 1,
    about: [nameAbout, "All rules that are to hold, with a comma between, or none; shown if left out"],
  },
  options: {
    store: storeOption,
    yes: toggle("Do not ask"),
  },
  examples: [
    [`${name} web1`, "what holds of it"],
    [`${name} web1 attested,no-copies`, "from now on"],
  ],
  async run({ options, positionals, world, reporter }) {
    const home = homeOf(world);
    const [given = "", rules] = positionals;
    const { folder } = findVm({ home, given, store: options.store });
    const { name: vm, policy: before } = policyAt(folder);
    if (rules === undefined) {
      const text = policyText(before);
      const said = text === null ? `${vm} has no policy of its own.` : `${vm} ${text}.`;
      reporter.result({ event: "vm-policy", name: vm, folder, policy: rulesOf(before) }, said);
      return undefined;
    }
    const after = readValue("RULES", () => parsePolicy(rules), usageErrors(name));
    if (!isAsTight(before, after) && !options.yes) {
      const lost = rulesOf(before).filter((rule) => !rulesOf(after).includes(rule));
      if (!(await confirmed(world, `Take ${lost.join(" and ")} away from ${vm}?`))) {
        reporter.result({ event: "kept", name: vm, folder }, `${vm} keeps its rules.`);
        return undefined;
      }
    }
    setPolicyAt(home, folder, after);
    const text = policyText(after);
    reporter.result(
      { event: "vm-policy", name: vm, folder, policy: rulesOf(after) },
      text === null
        ? `${vm} has no policy of its own any more.`
        : `${vm} ${text}, from now on and wherever it is.`,
    );
    return undefined;
  },
});
