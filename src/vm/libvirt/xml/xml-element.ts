/** An element of an XML document as data, without comments and without the white space between elements. Pure. */

export interface XmlElement {
  /** With its prefix, as it is written. */
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly XmlElement[];
  /** The text within, as it is written; white space alone is kept only where there are no children. */
  readonly text: string;
}

/** An element; attributes that are undefined are not there. */
export function element(
  name: string,
  attributes: Readonly<Record<string, string | undefined>> | ReadonlyMap<string, string> = {},
  inner: readonly XmlElement[] | string = [],
): XmlElement {
  const pairs = attributes instanceof Map ? [...attributes] : Object.entries(attributes);
  return {
    name,
    attributes: new Map(pairs.filter((pair): pair is [string, string] => pair[1] !== undefined)),
    children: typeof inner === "string" ? [] : inner,
    text: typeof inner === "string" ? inner : "",
  };
}

/** The first child of that name; undefined if there is none. */
export function childOf(parent: XmlElement | undefined, name: string): XmlElement | undefined {
  return parent?.children.find((child) => child.name === name);
}

/** The value of an attribute; undefined if the element or the attribute is not there. */
export function attributeOf(owner: XmlElement | undefined, name: string): string | undefined {
  return owner?.attributes.get(name);
}

/** The element with other attributes: one that is undefined is taken out, a new one comes last. */
export function withAttributes(
  owner: XmlElement,
  changes: Readonly<Record<string, string | undefined>>,
): XmlElement {
  const attributes = new Map(owner.attributes);
  for (const [name, value] of Object.entries(changes))
    if (value === undefined) attributes.delete(name);
    else attributes.set(name, value);
  return { ...owner, attributes };
}

/** The element with what `change` makes of each child; null takes a child out. */
export function withChildren(
  owner: XmlElement,
  change: (child: XmlElement, at: number) => XmlElement | null,
): XmlElement {
  return { ...owner, children: owner.children.map(change).filter((child) => child !== null) };
}

/** The element without its children of these names. */
export function withoutChildren(owner: XmlElement, ...names: readonly string[]): XmlElement {
  return withChildren(owner, (child) => (names.includes(child.name) ? null : child));
}
