/** `migrate id`: who this host is to others. */
import { isSealed, loadFingerprint, sealIdentity, unsealIdentity } from "../channel/identity.ts";
import { MigrateError } from "../protocol/errors.ts";
import { homeOf, newPassphraseFrom, passphraseFrom, passphraseOptions } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { toggle } from "./cli/option.ts";

export default defineCommand({
  name: "migrate id",
  summary: "print this host's fingerprint, seal or unseal its identity",
  about:
    "The identity is a key and a certificate, made on first use. Its fingerprint is this host's name to others. A sealed identity is encrypted with a passphrase (scrypt, XChaCha20-Poly1305), which send and serve then ask for.",
  options: {
    seal: toggle("Encrypt the key with a passphrase"),
    unseal: toggle("Take the passphrase off the key"),
    ...passphraseOptions,
  },
  examples: [
    ["migrate id", "the fingerprint, to give to another administrator"],
    ["migrate id --seal", "ask twice for a passphrase and encrypt the key with it"],
  ],
  async run({ options, world, reporter }) {
    if (options.seal && options.unseal)
      throw new MigrateError("usage", "--seal and --unseal exclude each other");
    const home = homeOf(world);
    if (options.seal) {
      if (isSealed(home))
        throw new MigrateError("policy", "This host's identity is sealed already", {
          hint: "Give it another passphrase with migrate id --unseal, then migrate id --seal.",
        });
      await sealIdentity(home, await newPassphraseFrom(world, options.passphraseFile));
    }
    if (options.unseal) {
      if (!isSealed(home)) throw new MigrateError("policy", "This host's identity is not sealed");
      await unsealIdentity(home, await passphraseFrom(world, options.passphraseFile)());
    }
    const fingerprint = await loadFingerprint(home);
    const sealed = isSealed(home);
    if (!reporter.json && options.seal)
      reporter.note("The identity is sealed; without the passphrase it is lost.");
    if (!reporter.json && options.unseal) reporter.note("The identity is no longer sealed.");
    reporter.result({ event: "id", fingerprint, sealed, home }, fingerprint);
    return undefined;
  },
});
