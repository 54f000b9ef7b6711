/** `migrate export`: the words with which libvirt takes a VM over that lies here, and what is to be done besides. */
import { randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { openHome } from "../../home/home.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { manifestName } from "../../protocol/names.ts";
import { readManifest, tpmFolder } from "../../vm/folder/manifest.ts";
import { Journal } from "../journal/journal.ts";
import type { CardBackend } from "../providers/libvirt/export/draft.ts";
import { exportDomainHere } from "../providers/libvirt/export/export-domain.ts";
import { lyingVm } from "../providers/qemu/booting/lying-vm.ts";
import { requireOurs, requireOwner } from "./start.ts";

export type { CardBackend } from "../providers/libvirt/export/draft.ts";

export interface ExportOptions {
  home: string;
  /** The VM's folder, absolute, with all links resolved. */
  folder: string;
  /** What is behind its cards; null if nothing is to be. */
  net: CardBackend | null;
}

export interface ExportedVm {
  name: string;
  /** The domain, for `virsh define`; the notes are in it as comments. */
  xml: string;
  notes: readonly string[];
  /** What is to be done, in this order, as lines of a shell; one that begins with # is a word to the person. */
  steps: readonly string[];
}

/**
 * Changes nothing. Throws MigrateError: "vm-invalid" if its folder does not say what it is, "not-owner", "in-doubt" or
 * "vm-busy" if it is not this host's to hand on, "policy" if libvirt would make another machine of it.
 */
export function exportVm({ home: path, folder, net }: ExportOptions): ExportedVm {
  const home = openHome(path);
  const manifest = readManifest(join(folder, manifestName));
  const { name } = manifest;
  if (manifest.manager === "libvirt") {
    throw new MigrateError("policy", `${name} is a domain of libvirt's already`, {
      hint: `virsh dumpxml ${name} shows it`,
    });
  }
  const { definition, files } = lyingVm(folder, manifest);
  requireOwner(manifest, files);
  const journal = Journal.open(home);
  try {
    requireOurs(journal, manifest, files);
  } finally {
    journal.close();
  }
  const uuid = definition.uuid ?? manifest.id ?? randomUUID();
  const tpm = join(folder, tpmFolder);
  const isOldTpm = existsSync(join(tpm, "tpm-00.permall"));
  const pathOf = (file: string) => join(folder, file);
  const { xml, notes } = exportDomainHere(definition, { name, uuid, pathOf, net, isOldTpm });
  return { name, xml, notes, steps: stepsOf({ name, uuid, folder, isOldTpm, hasTpm: existsSync(tpm) }) };
}

interface Facts {
  name: string;
  uuid: string;
  folder: string;
  hasTpm: boolean;
  isOldTpm: boolean;
}

function stepsOf({ name, uuid, folder, hasTpm, isOldTpm }: Facts): string[] {
  const closed = closedFolders(folder).map(quoted);
  const state = `/var/lib/libvirt/swtpm/${uuid}/${isOldTpm ? "tpm1.2" : "tpm2"}`;
  return [
    `# end it here first, and its autostart if it has one: migrate stop ${quoted(name)}`,
    ...(closed.length === 0
      ? []
      : [
          "# libvirt's QEMU is a user of its own, and has to come to the files:",
          `chmod o+x ${closed.join(" ")}`,
        ]),
    ...(hasTpm
      ? [
          "# libvirt keeps the states of TPMs in a folder of its own (the user is tss, or swtpm: see qemu.conf):",
          `install -d -o tss -g tss -m 711 ${dirname(state)}`,
          `install -d -o tss -g tss -m 700 ${state}`,
          `install -o tss -g tss -m 600 ${quoted(join(folder, tpmFolder))}/tpm* ${state}/`,
        ]
      : []),
    `migrate export ${quoted(folder)} --libvirt >${quoted(`${name}.xml`)}`,
    `virsh define ${quoted(`${name}.xml`)}`,
    "# from here on it is libvirt's: nothing else may start it",
    `mv ${quoted(join(folder, manifestName))} ${quoted(join(folder, `${manifestName}.exported`))}`,
    `virsh start ${quoted(name)}`,
  ];
}

/** The folders on the way to the VM's files that other users cannot enter. */
function closedFolders(folder: string): string[] {
  const closed: string[] = [];
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) closed.unshift(at);
  }
  return closed;
}

/** As a shell reads it. */
function quoted(text: string): string {
  return /^[\w./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
