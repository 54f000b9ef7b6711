/** `migrate id`: who this host is to others, and who keeps its key. */
import { makeTpmIdentity } from "../attestation/host-identity.ts";
import { parseSelection } from "../attestation/structures/pcr-selection.ts";
import { isSealed, keyKeeper, loadFingerprint, sealIdentity, unsealIdentity } from "../channel/identity.ts";
import { localStatus } from "../migration/operator/status.ts";
import { MigrateError } from "../protocol/errors.ts";
import { confirmed, homeOf, newPassphraseFrom, passphraseFrom, passphraseOptions } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { optional, toggle } from "./cli/option.ts";

const name = "migrate id";

export default defineCommand({
  name,
  summary: "print this host's fingerprint, say who keeps its key",
  about:
    "The identity is a key and a certificate, made on first use. Its fingerprint is this host's name to others. A sealed identity is encrypted with a passphrase (scrypt, XChaCha20-Poly1305), which send and serve then ask for. With --tpm this host's TPM makes the key, and opens it at each start: identity.pem is then of no use without that TPM. That is a new identity, another host to all others; it asks before it replaces one.",
  options: {
    seal: toggle("Encrypt the key with a passphrase"),
    unseal: toggle("Take the passphrase off the key"),
    tpm: toggle("Make a new identity, whose key this host's TPM makes and keeps"),
    pcrs: optional("LIST", "With --tpm: open the key only while these registers are as now", parseSelection),
    yes: toggle("With --tpm: do not ask"),
    replace: toggle("With --tpm: also one that is sealed, or that sessions under way hang on"),
    ...passphraseOptions,
  },
  examples: [
    [name, "the fingerprint, to give to another administrator"],
    [`${name} --seal`, "ask twice for a passphrase and encrypt the key with it"],
    [`${name} --tpm --pcrs 7`, "a new identity that this host's TPM opens while Secure Boot is set as now"],
  ],
  async run({ options, world, reporter }) {
    if (Number(options.seal) + Number(options.unseal) + Number(options.tpm) > 1)
      throw new MigrateError("usage", "--seal, --unseal and --tpm exclude each other");
    if (!options.tpm && (options.pcrs !== undefined || options.yes || options.replace))
      throw new MigrateError("usage", "--pcrs, --yes and --replace are for --tpm");
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
    if (options.tpm) {
      const replaced = keyKeeper(home) === null ? null : await loadFingerprint(home);
      if (replaced !== null) {
        if (!options.replace) requireReplaceable(home);
        const question = `To others this host is another one then; those that know ${replaced} have to be paired with again. Make a new identity?`;
        if (!options.yes && !(await confirmed(world, question))) return undefined;
      }
      await makeTpmIdentity(home, options.pcrs ?? null, world.env);
      if (!reporter.json) reporter.note(noteOf(replaced));
    }
    const fingerprint = await loadFingerprint(home);
    const keeper = keyKeeper(home) ?? "file";
    if (!reporter.json && options.seal)
      reporter.note("The identity is sealed; without the passphrase it is lost.");
    if (!reporter.json && options.unseal) reporter.note("The identity is no longer sealed.");
    const sealed = keeper === "passphrase";
    reporter.result({ event: "id", fingerprint, sealed, keeper, home }, fingerprint);
    return undefined;
  },
});

function noteOf(replaced: string | null): string {
  const kept = "This host's TPM keeps the key; if the TPM is cleared or exchanged, the identity is lost.";
  if (replaced === null) return kept;
  return `${kept} Start migrate serve again, and pair with the other hosts: they know ${replaced}.`;
}

/** Throws MigrateError "policy" for an identity that is not to be lost by a slip. */
function requireReplaceable(home: string): void {
  const hint = `${name} --tpm --replace gives it up all the same.`;
  if (isSealed(home))
    throw new MigrateError("policy", "This host's identity is sealed with a passphrase, and would be lost", {
      hint,
    });
  const open = localStatus(home);
  if (open.length === 0) return;
  const named = open.slice(0, 3).map((row) => `${row.name} (${row.session.slice(0, 12)})`);
  const others = open.length > 3 ? ` and ${open.length - 3} more` : "";
  throw new MigrateError(
    "policy",
    `Sessions are under way whose other hosts know this one by its identity: ${named.join(", ")}${others}`,
    { hint: `End them first (migrate status shows them). ${hint}` },
  );
}
