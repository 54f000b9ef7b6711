/**
 * What a VM and its files may be called. The same rules hold for a name that a person types,
 * one read from a vm.json and one received from a peer, so that a name never becomes a path and never changes what
 * a terminal shows. Pure.
 */
import { hasControls, hasInvisibleMarks } from "./printable.ts";

/** Longest name of a VM in bytes of UTF-8: room for a suffix where file systems stop at 255. */
const vmNameBytes = 128;
/** Longest name of a file in bytes of UTF-8 (NAME_MAX of limits.h). */
const fileNameBytes = 255;

/** The file that describes a VM in its folder; none of its own files may be called that. */
export const manifestName = "vm.json";
/** What the source's files are renamed to, once they are no longer the VM. */
export const migratedSuffix = ".migrated";

function checkName(what: string, name: string, mostBytes: number): string | null {
  if (name === "") return `${what} must not be empty`;
  // UTF-8 has at least one byte for each UTF-16 unit: a huge name is not encoded to be measured.
  if (name.length > mostBytes || new TextEncoder().encode(name).length > mostBytes) {
    return `${what} must have at most ${mostBytes} bytes`;
  }
  if (!name.isWellFormed()) return `${what} must be well-formed Unicode`;
  if (name.includes("/")) return `${what} must not contain "/"`;
  if (hasControls(name)) return `${what} must not contain control characters`;
  if (hasInvisibleMarks(name)) return `${what} must not contain invisible direction or line marks`;
  if (name === "." || name === "..") return `${what} must not be "." or ".."`;
  if (name.startsWith(".")) return `${what} must not start with "."`;
  if (name.startsWith("-")) return `${what} must not start with "-"`;
  if (name.trim() !== name) return `${what} must not start or end with white space`;
  if (name.normalize("NFC") !== name) return `${what} must be in Unicode's normal form C`;
  return null;
}

/** What is wrong with this name of a VM, as a sentence that does not repeat it; null if nothing is. */
export function checkVmName(name: string): string | null {
  const wrong = checkName("a VM's name", name, vmNameBytes);
  if (wrong !== null) return wrong;
  if (name.endsWith(migratedSuffix)) return `a VM's name must not end with "${migratedSuffix}"`;
  return null;
}

/** What is wrong with this name of a file of a VM (without folder); null if nothing is. */
export function checkFileName(name: string): string | null {
  const wrong = checkName("a file's name", name, fileNameBytes);
  if (wrong !== null) return wrong;
  if (name === manifestName) return `a VM's file must not be called "${manifestName}"`;
  return null;
}
