/** A destination whose TPM is a chip of the test's own, and a source that has recorded what it runs. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { builtBinary, type MigrateProcess, runMigrate } from "../system/process.ts";
import { type Chip, startChip } from "../tpm/chip.ts";

export interface ProvenHost {
  readonly chip: Chip;
  /** Where it serves. */
  readonly address: string;
  readonly fingerprint: string;
  readonly store: string;
  readonly serve: MigrateProcess;
  /** Runs `migrate` on the source, or on the destination. */
  migrate(host: "source" | "destination", ...words: string[]): MigrateProcess;
  /** Its policy file at the source. */
  readonly policy: string;
}

/** Makes both in `folder`, with the chip in `folder`/chip. The test ends its children. */
export async function startProvenHost(folder: string): Promise<ProvenHost> {
  mkdirSync(join(folder, "chip"));
  const chip = await startChip(join(folder, "chip"));
  const store = join(folder, "store");
  const migrate = (host: "source" | "destination", ...words: string[]) =>
    runMigrate(words, {
      home: join(folder, host),
      binary: builtBinary,
      cwd: folder,
      env: { MIGRATE_TPM: host === "destination" ? chip.place : "none" },
    });
  const serve = migrate(
    ...(["destination", "serve", "--attest", "--listen", "127.0.0.1:0"] as const),
    ...["--store", store, "--json"],
  );
  const { address, ticket = "", fingerprint } = await serve.waitFor("listening");
  const ticketFile = join(folder, "ticket");
  writeFileSync(ticketFile, ticket, { mode: 0o600 });
  const record = migrate(
    "source",
    "attest",
    "record",
    address,
    "--ticket-file",
    ticketFile,
    "--yes",
    "--json",
  );
  const { path } = (await record.waitFor("recorded")) as unknown as { path: string };
  await record.exit;
  return { chip, address, fingerprint: fingerprint ?? "", store, serve, migrate, policy: path };
}
