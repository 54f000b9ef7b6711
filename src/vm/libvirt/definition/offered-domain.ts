/**
 * The domain as it travels: its allow-listed XML with a plain name for each file. What the destination reads of it
 * is what it would send itself: nothing is left over that the one end says and the other does not see. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { checkFileName } from "../../../protocol/names.ts";
import { writeXml } from "../xml/write-xml.ts";
import type { Domain, Place } from "./domain.ts";
import { withFiles } from "./places.ts";
import { read } from "./read-domain.ts";
import { Draft } from "./rules/draft.ts";

/**
 * The XML that is sent. `nameOf` gives the name that a file has among the VM's files.
 * @throws MigrateError "bug" if a name is none of a file's.
 */
export function offeredXml(domain: Domain, nameOf: (place: Place) => string): string {
  return writeXml(
    withFiles(domain.tree, (place) => {
      const name = nameOf(place);
      const wrong = checkFileName(name);
      if (wrong !== null) throw new MigrateError("bug", `A file of the domain has no proper name: ${wrong}`);
      return name;
    }),
  );
}

/**
 * The domain that a source offers; its files have plain names.
 * @throws MigrateError "policy" if it is not what `offeredXml` makes of a domain that may be moved.
 */
export function readOffered(xml: string): Domain {
  const { domain, refusals } = read(xml, new Draft({ offered: true }));
  const [first] = refusals;
  if (first !== undefined) throw first.within({ side: "destination" });
  if (domain === null || writeXml(domain.tree) !== xml)
    throw new MigrateError("policy", "The domain's XML is not in the form in which domains are offered", {
      side: "destination",
    });
  return domain;
}

/** The name of a file in what was offered; null if the domain has none there. */
export function offeredName({ disks, firmware, kernel, initrd }: Domain, place: Place): string | null {
  switch (place.kind) {
    case "disk":
      return disks.find(({ target }) => target === place.target)?.path ?? null;
    case "nvram":
      return firmware.nvram;
    case "kernel":
      return kernel;
    case "initrd":
      return initrd;
  }
}
