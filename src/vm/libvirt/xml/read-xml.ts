/**
 * Reads XML that may come from a stranger: elements, attributes and text, and nothing else. There is no document
 * type and so no entity but the five predefined ones, no processing instruction, and a limit to everything.
 * The parser is saxes, which checks well-formedness and names as "Extensible Markup Language (XML) 1.0" and
 * "Namespaces in XML 1.0" have them, and does neither recurse nor open anything. Pure.
 */
import { SaxesParser } from "saxes";
import { MigrateError } from "../../../protocol/errors.ts";
import type { XmlElement } from "./xml-element.ts";

/** Far more than any domain of libvirt's has; bytes are those of UTF-8. */
export const xmlLimits = { bytes: 512 * 1024, depth: 32, parts: 20_000 } as const;

interface OpenElement extends XmlElement {
  readonly attributes: Map<string, string>;
  readonly children: XmlElement[];
  text: string;
}

const blank = /^[ \t\r\n]*$/;

/**
 * The document's root element.
 * @param text at most 512 KiB of UTF-8; 32 elements deep; 20,000 elements and attributes.
 * @throws MigrateError "policy" if it is longer or deeper, is not well-formed, or has a document type or a
 *   processing instruction. The sentence repeats nothing of the text.
 */
export function readXml(text: string): XmlElement {
  // UTF-8 has at least one byte for each UTF-16 unit: a huge text is not encoded to be measured.
  if (text.length > xmlLimits.bytes || Buffer.byteLength(text) > xmlLimits.bytes)
    throw fault(`has more than ${xmlLimits.bytes / 1024} KiB`);
  if (!text.isWellFormed()) throw fault("is not proper text");
  const reader = new XmlReader();
  return reader.read(text);
}

function fault(what: string, cause?: unknown): MigrateError {
  return new MigrateError("policy", `The domain's XML ${what}`, { cause });
}

class XmlReader {
  // A document that says it is XML 1.1 is read as 1.0, in which control characters have no place.
  readonly #parser = new SaxesParser({
    xmlns: true,
    position: true,
    forceXMLVersion: true,
    defaultXMLVersion: "1.0",
  });
  readonly #open: OpenElement[] = [];
  #root: XmlElement | undefined;
  #parts = 0;

  constructor() {
    const parser = this.#parser;
    parser.on("error", (cause) => {
      throw fault(`is not well-formed (line ${parser.line})`, cause);
    });
    parser.on("doctype", () => {
      throw fault("has a document type, which is refused");
    });
    parser.on("processinginstruction", () => {
      throw fault("has a processing instruction, which is refused");
    });
    // Counted when its name is read, before its attributes are.
    parser.on("opentagstart", () => {
      this.#count();
      if (this.#open.length >= xmlLimits.depth) throw fault(`is more than ${xmlLimits.depth} elements deep`);
    });
    parser.on("attribute", () => this.#count());
    parser.on("opentag", ({ name, attributes }) => {
      const values = Object.entries(attributes).map(([key, { value }]) => [key, value] as const);
      this.#open.push({ name, attributes: new Map(values), children: [], text: "" });
    });
    parser.on("text", (text) => this.#text(text));
    parser.on("cdata", (text) => this.#text(text));
    parser.on("closetag", () => this.#close());
  }

  read(text: string): XmlElement {
    this.#parser.write(text).close();
    if (this.#root === undefined) throw fault("has no element");
    return this.#root;
  }

  #count(): void {
    if (++this.#parts > xmlLimits.parts)
      throw fault(`has more than ${xmlLimits.parts} elements and attributes`);
  }

  #text(text: string): void {
    const inner = this.#open.at(-1);
    if (inner !== undefined) inner.text += text;
  }

  #close(): void {
    const closed = this.#open.pop()!;
    if (closed.children.length > 0 && blank.test(closed.text)) closed.text = "";
    const outer = this.#open.at(-1);
    if (outer === undefined) this.#root = closed;
    else outer.children.push(closed);
  }
}
