/** Which processors and features the libvirt of this host has words for: its own tables (libvirt's src/cpu_map). */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readXml } from "./xml/read-xml.ts";
import { attributeOf } from "./xml/xml-element.ts";

export interface CpuMap {
  /** Names of models. */
  models: ReadonlySet<string>;
  /** libvirt's names of features by QEMU's. */
  features: ReadonlyMap<string, string>;
}

const usualFolder = "/usr/share/libvirt/cpu_map";
const modelFile = /^x86_(?!features|vendors)(.+)\.xml$/;

/** The tables for x86; null where libvirt is not installed, or keeps them elsewhere. */
export function readCpuMap(folder: string = usualFolder): CpuMap | null {
  try {
    const models = readdirSync(folder).flatMap((name) => modelFile.exec(name)?.[1] ?? []);
    const features = new Map<string, string>();
    for (const feature of readXml(readFileSync(join(folder, "x86_features.xml"), "utf8")).children) {
      const name = attributeOf(feature, "name");
      if (feature.name !== "feature" || name === undefined) continue;
      const aliases = feature.children.filter(
        (child) => child.name === "alias" && attributeOf(child, "source") === "qemu",
      );
      for (const known of [name, ...aliases.flatMap((alias) => attributeOf(alias, "name") ?? [])])
        if (!features.has(known)) features.set(known, name);
    }
    return models.length === 0 || features.size === 0 ? null : { models: new Set(models), features };
  } catch {
    return null;
  }
}
