/** What is different between two domains' XML, for a person: one line an element, by its place in the domain. Pure. */
import { printable } from "../../../protocol/printable.ts";
import { readXml } from "../xml/read-xml.ts";
import { attributeOf, childOf, type XmlElement } from "../xml/xml-element.ts";

interface Line {
  /** Where the element is: "devices/disk[vda]/source". */
  path: string;
  /** Its attributes as "name=value", and its text. */
  words: readonly string[];
}

/**
 * Lines "- devices/disk[vda]/source file=/a" for what is only in `today`, "+ …" for what is only in `there`, place
 * by place; of an element that is in both, only what differs. Empty if they say the same.
 * @throws MigrateError "policy" for XML that `readXml` refuses.
 */
export function xmlDifference(today: string, there: string): string[] {
  const before = linesOf(readXml(today));
  const after = linesOf(readXml(there));
  const paths = inOrder([...before.keys()], [...after.keys()]);
  return paths.flatMap((path) => {
    const [old, now] = [before.get(path), after.get(path)];
    const gone = old && only(old, now);
    const come = now && only(now, old);
    return [...(gone ? [`- ${printable(gone)}`] : []), ...(come ? [`+ ${printable(come)}`] : [])];
  });
}

/** What the first has and the second has not; undefined if that is nothing. */
function only(line: Line, other: Line | undefined): string | undefined {
  const words = line.words.filter((word) => !other?.words.includes(word));
  if (other !== undefined && words.length === 0) return undefined;
  return [line.path, ...words].join(" ");
}

/** The paths of the first in their order, those of the second alone after the one that they follow there. */
function inOrder(first: readonly string[], second: readonly string[]): string[] {
  const known = new Set(first);
  const follow = new Map<string | null, string[]>();
  let last: string | null = null;
  for (const path of second)
    if (known.has(path)) last = path;
    else follow.set(last, [...(follow.get(last) ?? []), path]);
  return [...(follow.get(null) ?? []), ...first.flatMap((path) => [path, ...(follow.get(path) ?? [])])];
}

function linesOf(root: XmlElement): Map<string, Line> {
  const lines = new Map<string, Line>();
  const add = (element: XmlElement, path: string): void => {
    const words = [...element.attributes].map(
      ([name, value]) => `${name}=${name === "passwd" ? "***" : value}`,
    );
    if (element.text.trim() !== "") words.push(element.text.trim());
    // An element that only holds others is not worth a line.
    if (words.length > 0 || element.children.length === 0) lines.set(path, { path, words });
    const seen = new Map<string, number>();
    for (const child of element.children) {
      const name = nameOf(child);
      const times = (seen.get(name) ?? 0) + 1;
      seen.set(name, times);
      const unique = times === 1 ? name : `${name}#${times}`;
      add(child, path === "" ? unique : `${path}/${unique}`);
    }
  };
  add({ ...root, text: "" }, "");
  // The root's own attributes have no path.
  const words = lines.get("")?.words ?? [];
  lines.delete("");
  return words.length === 0 ? lines : new Map([["domain", { path: "domain", words }], ...lines]);
}

/** "disk[vda]": an element with what tells it from others of its name. */
function nameOf(element: XmlElement): string {
  const mark = markOf(element);
  return mark === undefined ? element.name : `${element.name}[${mark}]`;
}

function markOf(element: XmlElement): string | undefined {
  const of = (child: string, attribute: string) => attributeOf(childOf(element, child), attribute);
  const own = (name: string) => attributeOf(element, name);
  switch (element.name) {
    case "disk":
      return of("target", "dev");
    case "interface":
      return of("mac", "address");
    case "controller":
      return [own("type"), own("index")].filter((word) => word !== undefined).join(" ");
    case "channel":
      return of("target", "name") ?? own("name");
    case "serial":
    case "console":
    case "parallel":
      return of("target", "port");
    case "graphics":
    case "input":
      return own("type");
    case "feature":
    case "timer":
    case "entry":
      return own("name");
    case "cell":
    case "audio":
    case "iothread":
      return own("id");
    case "vcpupin":
    case "vcpu":
      return own("vcpu") ?? own("id");
    default:
      return undefined;
  }
}
