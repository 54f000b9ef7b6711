/**
 * The data of one entry of IMA's list: fields, each a length and its bytes, in the order that the template's name gives
 * (Linux, Documentation/security/IMA-templates.rst; security/integrity/ima/ima_template_lib.c). Pure.
 */
import { digestAlgorithms } from "./digest-algorithms.ts";
import { printablePath } from "./printable-path.ts";
import { shown } from "./words.ts";

/** Templates that the kernel has a name for; one of a person's own (ima_template_fmt=) is named by its fields. */
const templates: Readonly<Record<string, readonly string[]>> = {
  "ima-ng": ["d-ng", "n-ng"],
  "ima-ngv2": ["d-ngv2", "n-ng"],
  "ima-sig": ["d-ng", "n-ng", "sig"],
  "ima-sigv2": ["d-ngv2", "n-ng", "sig"],
  "ima-buf": ["d-ng", "n-ng", "buf"],
  "ima-modsig": ["d-ng", "n-ng", "sig", "d-modsig", "modsig"],
  "evm-sig": ["d-ng", "n-ng", "evmsig", "xattrnames", "xattrlengths", "xattrvalues", "iuid", "igid", "imode"],
};

/** PATH_MAX of Linux: a longer path is shown cut, and matches nothing. */
const pathMaxBytes = 4096;

export interface TemplateFields {
  template: string;
  path: string | null;
  digest: string | null;
}

/**
 * What the data says. A template that is not known here, or data that is not in its template's form, gives neither path
 * nor digest; its digest still counts in the replay, which takes the data as it is.
 */
export function readTemplate(name: string, data: Buffer): TemplateFields {
  const template = shown(name);
  const nothing = { template, path: null, digest: null };
  const fields = Object.hasOwn(templates, name) ? templates[name] : name.includes("|") ? name.split("|") : [];
  if (fields === undefined || fields.length === 0 || fields.length > 16) return nothing;
  let digest: string | null = null;
  let path: string | null = null;
  let at = 0;
  for (const field of fields) {
    if (at + 4 > data.length) return nothing;
    const bytes = data.readUInt32LE(at);
    if (bytes > data.length - at - 4) return nothing;
    const value = data.subarray(at + 4, at + 4 + bytes);
    at += 4 + bytes;
    if (field === "d-ng" || field === "d-ngv2") digest = digestText(value);
    if (field === "n-ng") path = pathText(value);
  }
  return at === data.length ? { template, path, digest } : nothing;
}

/** "sha256:" NUL digest; with v2 "ima:sha256:" or "verity:sha256:". A digest of fs-verity is not the file's, so it is named. */
function digestText(value: Buffer): string | null {
  const end = value.indexOf(0);
  if (end < 1 || end > 32) return null;
  const [, kind, algorithm] =
    /^(?:(ima|verity):)?([a-z0-9_-]{1,16}):$/.exec(value.subarray(0, end).toString("latin1")) ?? [];
  if (algorithm === undefined) return null;
  const digest = value.subarray(end + 1);
  const known = Object.entries(digestAlgorithms).find(([name]) => name === algorithm)?.[1];
  if (digest.length === 0 || digest.length > 64 || (known && digest.length !== known.bytes)) return null;
  return `${kind === "verity" ? "verity:" : ""}${algorithm}:${digest.toString("hex")}`;
}

function pathText(value: Buffer): string | null {
  const end = value.indexOf(0);
  const path = end < 0 ? value : value.subarray(0, end);
  // Bytes behind the zero would be measured, and shown to nobody.
  if (end >= 0 && end !== value.length - 1) return null;
  return path.length === 0 || path.length > pathMaxBytes ? null : printablePath(path);
}
