/** `migrate verify`: checks a VM's folder against the digests in its vm.json. */
import { type VerifiedFile, verifyVm } from "../migration/operator/verify.ts";
import { MigrateError } from "../protocol/errors.ts";
import type { Column } from "../terminal/table.ts";
import { defineCommand } from "./cli/define-command.ts";

const columns: readonly Column<VerifiedFile>[] = [
  { title: "FILE", cell: (row) => row.file },
  { title: "CHECK", cell: (row) => (row.ok ? "ok" : row.actual === null ? "missing" : "differs") },
];

export default defineCommand({
  name: "migrate verify",
  summary: "check a VM's folder against its digests",
  about:
    "The digests are in the vm.json that a migration wrote. A VM that has run since then differs, as it should.",
  positionals: { names: ["DIR"], least: 1, about: ["Folder of the VM"] },
  options: {},
  examples: [["migrate verify /srv/vms/web1", "read every file of it and compare"]],
  async run({ positionals, reporter }) {
    const [folder = ""] = positionals;
    const report = await verifyVm(folder, () => {});
    reporter.table("file", columns, report.files, "The VM has no files.");
    const { ok, name, digest } = report;
    reporter.result(
      { event: "verified", name, ok, digest },
      ok ? `${name} is whole: ${digest}` : `${name} is not as it was`,
    );
    if (ok) return undefined;
    const wrong = report.files.filter((file) => !file.ok).map((file) => file.file);
    throw new MigrateError("integrity", `Not as its digest says: ${wrong.join(", ")}`, {
      hint: "If the VM has run since it arrived, this is as it should be; if not, fetch it from its source again.",
    });
  },
});
