/**
 * What `migrate serve` was last given on this host: HOME/last-serve.json. Whoever starts one for a single move, without
 * being told what to take, does as the person did who started the last.
 */
import { join } from "node:path";
import * as v from "valibot";
import { MigrateError } from "../protocol/errors.ts";
import { readHomeFile, replaceHomeFile } from "./home-file.ts";

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096), v.regex(/^[^\0\n]*$/));
const absolute = v.pipe(text, v.startsWith("/"));

/** The flags are kept as they were written. */
const schema = v.strictObject({
  store: absolute,
  qemu: v.boolean(),
  allowTcg: v.boolean(),
  net: v.nullable(text),
  vmUsers: v.nullable(text),
  vnc: v.nullable(text),
  libvirt: v.boolean(),
  connect: v.nullable(text),
  netMap: v.nullable(text),
  // Absent in what an earlier version has written.
  attest: v.optional(v.boolean(), false),
  requireAttestation: v.optional(v.boolean(), false),
});

/** The store, and the flags that decide what is taken there and what a VM gets. */
export type LastServe = v.InferOutput<typeof schema>;

const pathIn = (home: string): string => join(home, "last-serve.json");

/** Notes it, durably, in an opened home. Throws MigrateError "home-unusable". */
export function noteLastServe(home: string, last: LastServe): void {
  replaceHomeFile(pathIn(home), `${JSON.stringify(last, null, 2)}\n`);
}

/** Returns what was noted; null if nothing was. Throws MigrateError "home-unusable" if the file cannot be read or understood. */
export function lastServe(home: string): LastServe | null {
  const path = pathIn(home);
  // It decides who may bring what to this host: nobody else may have written it.
  const file = readHomeFile(path, 0o077);
  if (file === null) return null;
  try {
    return v.parse(schema, JSON.parse(file));
  } catch (cause) {
    throw new MigrateError("home-unusable", `${path} is not what migrate serve writes there.`, {
      cause,
      hint: "Remove it; the next migrate serve writes it anew.",
    });
  }
}

/** The same as the words behind `migrate serve`. */
export function serveWords(last: LastServe): string[] {
  const flag = (name: string, value: string | null) => (value === null ? [] : [name, value]);
  return [
    ...["--store", last.store],
    ...(last.qemu ? ["--qemu"] : []),
    ...(last.allowTcg ? ["--allow-tcg"] : []),
    ...flag("--net", last.net),
    ...flag("--vm-users", last.vmUsers),
    ...flag("--vnc", last.vnc),
    ...(last.libvirt ? ["--libvirt"] : []),
    ...flag("--connect", last.connect),
    ...flag("--net-map", last.netMap),
    ...(last.attest ? ["--attest"] : []),
    ...(last.requireAttestation ? ["--require-attestation"] : []),
  ];
}
