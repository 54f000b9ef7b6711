/**
 * A medium that was taken out since the VM was started: the command line still names it, and at the destination its
 * drive is empty too. Whether the tray is open travels with the device's state (QEMU hw/ide/core.c, hw/scsi/scsi-disk.c).
 */
import type { DefinitionFile, Pair, Part, QemuDefinition, TextPair } from "./definition/model.ts";

/** Devices from which a medium can be taken. */
const drivesOfMedia = new Set(["ide-cd", "scsi-cd"]);

/** What a -drive may say without a file: the rest is about how one is opened (QEMU blockdev.c, blockdev_init). */
const withoutFile = new Set(["if", "id", "media", "index", "bus", "unit", "werror", "rerror", "read-only"]);

/**
 * Returns the definition with empty drives where `isIn` says of a medium that QEMU has it in none, and with a note on
 * each. A disk is no medium: nobody takes it out. Pure.
 */
export function withoutEjected(
  definition: QemuDefinition,
  isIn: (file: DefinitionFile) => boolean,
): QemuDefinition {
  const out = (file: number | null): file is number =>
    file !== null && definition.files[file]!.kind === "boot" && !isIn(definition.files[file]!);
  const emptied = new Set<string>();
  const ejected: DefinitionFile[] = [];
  const takeOut = (file: number) => ejected.push(definition.files[file]!);
  for (const part of definition.parts) {
    if (part.kind === "blockdev" && out(part.file) && standsInDrive(definition.parts, part.node))
      emptied.add(part.node);
  }
  const parts = definition.parts.flatMap((part): Part[] => {
    if (part.kind === "drive" && out(part.file)) {
      takeOut(part.file);
      return [{ ...part, file: null, pairs: part.pairs.filter(({ key }) => withoutFile.has(key)) }];
    }
    if (part.kind === "blockdev" && emptied.has(part.node)) {
      takeOut(part.file);
      return [];
    }
    if (part.kind === "device" && drivesOfMedia.has(part.driver))
      return [{ ...part, pairs: part.pairs.filter((pair) => !isOn(pair, emptied)) }];
    return [part];
  });
  if (ejected.length === 0) return definition;
  const files = definition.files.filter((file) => !ejected.includes(file));
  const place = (file: number) => files.indexOf(definition.files[file]!);
  return {
    ...definition,
    files,
    parts: parts.map((part) =>
      "file" in part && part.file !== null ? { ...part, file: place(part.file) } : part,
    ),
    notes: [
      ...definition.notes,
      ...ejected.map(
        ({ path }) => `${path} stays here: it was taken out of its drive since the VM was started`,
      ),
    ],
  };
}

function isOn({ key, value }: Pair | TextPair, nodes: ReadonlySet<string>): boolean {
  return key === "drive" && typeof value === "string" && nodes.has(value);
}

function standsInDrive(parts: readonly Part[], node: string): boolean {
  return parts.some(
    (part) =>
      part.kind === "device" &&
      drivesOfMedia.has(part.driver) &&
      part.pairs.some((pair) => isOn(pair, new Set([node]))),
  );
}
