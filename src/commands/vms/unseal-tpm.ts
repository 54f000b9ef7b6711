/** `migrate unseal-tpm`: opens the state of a virtual TPM that a move left here sealed. */
import { unsealTpm } from "../../migration/operator/unseal-tpm.ts";
import { readPassphraseFile } from "../../terminal/prompt.ts";
import { secretFrom } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { optional } from "../cli/option.ts";

const name = "migrate unseal-tpm";

export default defineCommand({
  name,
  summary: "open the state of a virtual TPM that a move left here sealed",
  about:
    "send --after keep --seal-tpm leaves it beside the VM's files. It is written into FOLDER, which must be new or empty, and the sealed file stays. The VM is the destination's: two VMs that run with one TPM are one identity twice. So it is for a destination that is lost for good, or for looking into it.",
  positionals: {
    names: ["FILE", "FOLDER"],
    least: 2,
    about: ["The sealed state, *.sealed-SESSION", "Where the state is put, for swtpm's --tpmstate"],
  },
  options: {
    tpmPassphraseFile: optional("FILE", "Read the passphrase that --seal-tpm gave from FILE's first line"),
  },
  examples: [[`${name} /srv/vms/web1/tpm.sealed-1a2b3c4d /srv/web1-tpm`, "asks for the passphrase"]],
  async run({ options, positionals, world, reporter }) {
    const [file = "", folder = ""] = positionals;
    const { tpmPassphraseFile } = options;
    const passphrase =
      tpmPassphraseFile === undefined
        ? await secretFrom(world, "Passphrase of the virtual TPM's state: ", "--tpm-passphrase-file")
        : readPassphraseFile(tpmPassphraseFile);
    const { vm, files } = await unsealTpm(file, folder, passphrase);
    reporter.result(
      { event: "tpm-unsealed", name: vm, folder, files },
      `The state of ${vm}'s virtual TPM is in ${folder}. Start no VM with it while the destination has ${vm}.`,
    );
    return undefined;
  },
});
