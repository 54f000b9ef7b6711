/** Writes an element as XML, as libvirt does it: two spaces a level, values in single quotes. Pure. */
import { MigrateError } from "../../../protocol/errors.ts";
import type { XmlElement } from "./xml-element.ts";

const references: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "'": "&apos;",
  // A parser makes spaces of these in a value, and a line feed of a carriage return in text.
  "\t": "&#9;",
  "\n": "&#10;",
  "\r": "&#13;",
};

const inText = (text: string) => text.replace(/[&<>\r]/g, (character) => references[character]!);
const inValue = (text: string) => text.replace(/[&<>'\t\n\r]/g, (character) => references[character]!);

/**
 * The element and all that is in it, with a line feed at the end. The same element is always the same text, and
 * `readXml` makes the same element of it.
 * @throws MigrateError "bug" for an element that has both text and children: their order is not known.
 */
export function writeXml(root: XmlElement): string {
  const lines: string[] = [];
  write(root, "", lines);
  return `${lines.join("\n")}\n`;
}

function write(element: XmlElement, indent: string, lines: string[]): void {
  const attributes = [...element.attributes].map(([name, value]) => ` ${name}='${inValue(value)}'`).join("");
  const start = `${indent}<${element.name}${attributes}`;
  if (element.children.length === 0) {
    lines.push(element.text === "" ? `${start}/>` : `${start}>${inText(element.text)}</${element.name}>`);
    return;
  }
  if (element.text !== "") throw new MigrateError("bug", `<${element.name}> has text beside its elements`);
  lines.push(`${start}>`);
  for (const child of element.children) write(child, `${indent}  `, lines);
  lines.push(`${indent}</${element.name}>`);
}
