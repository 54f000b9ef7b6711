/** `vm.json`: what a VM in a folder consists of, and its digests and owner as last recorded. */
import { readFileSync, statSync } from "node:fs";
import * as v from "valibot";
import { imageFormats } from "../../protocol/disk-head.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { fieldPath } from "../../protocol/fields.ts";
import { limits } from "../../protocol/limits.ts";
import { checkFileName, checkVmName } from "../../protocol/names.ts";
import { fileKinds } from "../../protocol/offer.ts";
import type { VmPolicy } from "../../protocol/vm-policy.ts";

/** Where the files of a virtual TPM are inside the VM's folder. */
export const tpmFolder = "tpm";

/** Far above what the files of one VM can fill. */
const manifestBytes = 1024 * 1024;

const digestRule = 'must be "sha256:" and 64 hex digits';
const digest = v.pipe(v.string(digestRule), v.regex(/^sha256:[0-9a-f]{64}$/, digestRule));
const objectRule = "must be an object";
const bytesRule = "must be a whole number of bytes";
const timeRule = "must be a time like 2030-01-31T12:00:00.000Z";
const stampRule = "must be a text of at most 128 characters";
const keyRule = "must be 32 hex digits";

/** What others read: any object. */
const anObject = () =>
  v.custom<Record<string, unknown>>(
    (value) => typeof value === "object" && value !== null && !Array.isArray(value),
    objectRule,
  );

const file = v.pipe(
  v.object(
    {
      kind: v.picklist(fileKinds, 'must be "ram", "disk" or "tpm"'),
      /** Relative to the folder: a base name, or "tpm/" and a base name for kind tpm. */
      file: v.string("must be a file's name"),
      /** Size when this was written. A VM that has run since may have grown: the file itself counts. */
      bytes: v.optional(v.pipe(v.number(bytesRule), v.safeInteger(bytesRule), v.minValue(0, bytesRule))),
      digest: v.optional(digest),
      /** What the file looked like as it lay there with this digest (vm/disks/file-place.ts): while it does, it is the same. */
      stamp: v.optional(v.pipe(v.string(stampRule), v.maxLength(128, stampRule))),
      /** What a disk image is; one that is declared raw is not looked into. */
      format: v.optional(v.picklist(imageFormats, 'must be "raw" or "qcow2"')),
    },
    objectRule,
  ),
  v.forward(
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const wrong = checkManifestPath(dataset.value.kind, dataset.value.file);
      if (wrong !== null) addIssue({ message: wrong });
    }),
    ["file"],
  ),
);

const schema = v.object(
  {
    format: v.literal("migrate-vm/1", 'must be "migrate-vm/1"'),
    name: v.pipe(
      v.string("must be a text"),
      v.check(
        (name) => checkVmName(name) === null,
        (issue) => `is no name for a VM: ${checkVmName(String(issue.input))}`,
      ),
    ),
    /** The VM's own id; it survives moves. */
    id: v.optional(
      v.pipe(
        v.string("must be a UUID"),
        v.toLowerCase(),
        v.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "must be a UUID"),
      ),
    ),
    files: v.pipe(
      v.array(file, "must be a list of files"),
      v.minLength(1, "must name at least one file"),
      v.maxLength(limits.files, `must name at most ${limits.files} files`),
    ),
    /** How the digests were made; the key is the migration's own. */
    digest: v.optional(
      v.object(
        {
          algorithm: v.literal("aes-128-gmac-tree", 'must be "aes-128-gmac-tree"'),
          chunkBytes: v.pipe(v.number(bytesRule), v.safeInteger(bytesRule), v.minValue(1, bytesRule)),
          key: v.pipe(v.string(keyRule), v.regex(/^[0-9a-f]{32}$/, keyRule)),
          vm: digest,
          /** True if the VM's digest is also over its id and its virtual TPM's key (SPEC.md, DIGEST-6). */
          bound: v.optional(v.boolean("must be true or false")),
        },
        objectRule,
      ),
    ),
    /** Which virtual TPM it has: the digest of its endorsement key, as it was sealed with the VM (SPEC.md, Digests). */
    tpm: v.optional(v.object({ ek: digest }, objectRule)),
    /** The VM's own rules (protocol/vm-policy.ts). One that is not known here is not passed over. */
    policy: v.optional(
      v.strictObject(
        {
          onlyAttested: v.optional(v.boolean("must be true or false")),
          noCopies: v.optional(v.boolean("must be true or false")),
        },
        "must be an object of onlyAttested and noCopies",
      ),
    ),
    /** What a QEMU is started with for it (vm/qemu/definition/schema.ts); absent if it did not arrive under one. */
    definition: v.optional(anObject()),
    /** How it is started on this host (migration/providers/qemu/booting/start-rules.ts); for no other one. */
    here: v.optional(anObject()),
    /** Whose the VM is to run, if that is another program: its files alone are not the VM. */
    manager: v.optional(v.literal("libvirt", 'must be "libvirt"')),
    /** What the last migration made of it: its owner, or a copy beside the owner. */
    ownership: v.optional(
      v.object(
        {
          state: v.picklist(["owner", "copy"], 'must be "owner" or "copy"'),
          session: v.string("must be a session's id"),
          from: v.string("must be a text"),
          since: v.pipe(v.string(timeRule), v.isoTimestamp(timeRule)),
        },
        objectRule,
      ),
    ),
  },
  objectRule,
);

export type Manifest = v.InferOutput<typeof schema>;
export type ManifestFile = Manifest["files"][number];

/** The rules of the VM's own policy. Pure. */
export function policyOfManifest({ policy }: Pick<Manifest, "policy">): VmPolicy {
  const { onlyAttested = false, noCopies = false } = policy ?? {};
  return { onlyAttested, noCopies };
}

/** The file's name without the folder of its kind; null if it is not in that folder. */
function baseIn(kind: ManifestFile["kind"], path: string): string | null {
  if (kind !== "tpm") return path;
  return path.startsWith(`${tpmFolder}/`) ? path.slice(tpmFolder.length + 1) : null;
}

/** What is wrong with a path in a vm.json, as a sentence; null if nothing is. */
function checkManifestPath(kind: ManifestFile["kind"], path: string): string | null {
  if (path.startsWith("/") || path.split("/").includes("..")) return "leaves the VM's folder";
  const base = baseIn(kind, path);
  if (base === null) return `must start with "${tpmFolder}/", as every file of a virtual TPM does`;
  const wrong = checkFileName(base);
  return wrong === null ? null : `is no file of a VM: ${wrong}`;
}

/**
 * Parses the text of a vm.json; `path` is what the sentence of an error calls it. Unknown fields are
 * dropped, so that a later version may add some. Throws MigrateError "vm-invalid".
 */
export function parseManifest(text: string, path: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw new MigrateError("vm-invalid", `${path} is not JSON: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  }
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = fieldPath(issue.path);
  // Absent is told apart from wrong: valibot reports both alike.
  const wrong = issue.received === "undefined" ? "is missing" : issue.message;
  throw new MigrateError("vm-invalid", field === "" ? `${path} ${wrong}` : `${path}: ${field} ${wrong}`);
}

/**
 * Reads a vm.json. Throws MigrateError "vm-invalid" with a sentence that names the file and, if it
 * is the content, the field.
 */
export function readManifest(path: string): Manifest {
  let text: string;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new MigrateError("vm-invalid", `${path} is not a regular file`);
    if (stat.size > manifestBytes) {
      throw new MigrateError("vm-invalid", `${path} is larger than ${manifestBytes} bytes`);
    }
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    if (thrown instanceof MigrateError) throw thrown;
    const code = (thrown as { code?: unknown }).code;
    const why = code === "ENOENT" ? "there is none" : String(code);
    throw new MigrateError("vm-invalid", `${path} cannot be read: ${why}`, { cause: thrown });
  }
  return parseManifest(text, path);
}

/** The text of a vm.json. Equal manifests have equal texts. */
export function serialiseManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
