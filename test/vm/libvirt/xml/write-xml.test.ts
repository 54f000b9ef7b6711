/** What is written is read again as the same, whatever is in it. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { readXml } from "../../../../src/vm/libvirt/xml/read-xml.ts";
import { writeXml } from "../../../../src/vm/libvirt/xml/write-xml.ts";
import { element, type XmlElement } from "../../../../src/vm/libvirt/xml/xml-element.ts";
import { seeded } from "../../../support/system/random.ts";

describe("writeXml", () => {
  test("writes as libvirt does", () => {
    const root = element("a", { x: "1" }, [element("b", {}, "t"), element("c", { y: "it's <&>\n" })]);
    expect(writeXml(root)).toBe("<a x='1'>\n  <b>t</b>\n  <c y='it&apos;s &lt;&amp;&gt;&#10;'/>\n</a>\n");
  });

  test("refuses text beside elements, whose order it does not know", () => {
    expect(() => writeXml({ ...element("a", {}, [element("b")]), text: "t" })).toThrow(MigrateError);
  });

  test("any tree is read as it was", () => {
    const chance = seeded("writeXml");
    const characters = [
      "a",
      "é",
      "<",
      ">",
      "&",
      "'",
      '"',
      "\n",
      "\t",
      "\r",
      " ",
      "]]>",
      "€",
      "😀",
      "&amp;",
      "\u0085",
    ];
    const text = (most: number) =>
      Array.from({ length: chance.below(most) }, () => chance.pick(characters)).join("");
    const tree = (depth: number): XmlElement => {
      const attributes = Object.fromEntries(
        Array.from({ length: chance.below(3) }, (_, at) => [`k${at}`, text(6)]),
      );
      const children = depth === 0 ? [] : Array.from({ length: chance.below(4) }, () => tree(depth - 1));
      return element(`e${chance.below(5)}`, attributes, children.length > 0 ? children : text(8));
    };
    for (let round = 0; round < 500; round++) {
      const root = tree(4);
      const written = writeXml(root);
      expect(readXml(written), `round ${round}`).toEqual(root);
      expect(writeXml(readXml(written))).toBe(written);
    }
  });
});
