/** XML from a stranger: what is read of it, and what is refused before it costs anything. */
import { describe, expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { readXml, xmlLimits } from "../../../../src/vm/libvirt/xml/read-xml.ts";

const laughs = `<!DOCTYPE a [<!ENTITY x0 "ha">${Array.from({ length: 30 }, (_, at) => `<!ENTITY x${at + 1} "&x${at};&x${at};">`).join("")}]><a>&x30;</a>`;

const refused: readonly (readonly [what: string, xml: string, why: RegExp])[] = [
  ["nothing", "", /./],
  ["no element", "<!-- a -->", /./],
  ["a document type", "<!DOCTYPE domain><domain/>", /document type/],
  ["an external entity", `<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>`, /document type/],
  ["a billion laughs", laughs, /document type/],
  ["a parameter entity", `<!DOCTYPE a [<!ENTITY % p SYSTEM "http://192.0.2.1/">%p;]><a/>`, /document type/],
  ["an unknown entity", "<a>&nbsp;</a>", /not well-formed/],
  ["a processing instruction", "<?php x?><a/>", /processing instruction/],
  ["a style sheet", "<?xml version='1.0'?><?xml-stylesheet href='x'?><a/>", /processing instruction/],
  ["an open element", "<a><b></a>", /not well-formed/],
  ["an end alone", "</a>", /not well-formed/],
  ["two roots", "<a/><b/>", /not well-formed/],
  ["text after the root", "<a/>b", /not well-formed/],
  ["an attribute twice", "<a x='1' x='2'/>", /not well-formed/],
  ["an attribute twice by its namespace", "<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>", /not well-formed/],
  ["a prefix that nobody declares", "<q:a/>", /not well-formed/],
  ["a less-than in a value", "<a x='<'/>", /not well-formed/],
  ["a NUL by reference", "<a>&#0;</a>", /not well-formed/],
  ["a control character", "<a>\u0007</a>", /not well-formed/],
  ["a control character by way of XML 1.1", "<?xml version='1.1'?><a>&#7;</a>", /not well-formed/],
  ["half a surrogate pair", "<a>\ud800</a>", /proper text/],
  ["too many levels", "<a>".repeat(33) + "</a>".repeat(33), /32 elements deep/],
  ["levels without an end", "<a>".repeat(100_000), /32 elements deep/],
  ["too many elements", `<a>${"<b/>".repeat(20_000)}</a>`, /20000 elements/],
  [
    "too many attributes",
    `<a ${Array.from({ length: 20_001 }, (_, at) => `x${at}=''`).join(" ")}/>`,
    /20000 elements/,
  ],
  ["too long", `<a>${"x".repeat(xmlLimits.bytes)}</a>`, /512 KiB/],
  ["too long in bytes alone", `<a>${"\u20ac".repeat(xmlLimits.bytes / 2)}</a>`, /512 KiB/],
];

function thrownBy(xml: string): MigrateError {
  try {
    readXml(xml);
  } catch (error) {
    if (error instanceof MigrateError) return error;
    throw error;
  }
  throw new Error("it was read");
}

describe("readXml", () => {
  test("reads names, attributes, text and order", () => {
    const root = readXml(`<?xml version="1.0" encoding="UTF-8"?>
      <!-- virsh edit -->
      <a xmlns:q='u' x='1&amp;&lt;&#10;2'>
        <b>  t &gt; <![CDATA[<c>]]></b>
        <q:b q:y="'"/>
      </a>`);
    expect(root.name).toBe("a");
    expect([...root.attributes]).toEqual([
      ["xmlns:q", "u"],
      ["x", "1&<\n2"],
    ]);
    expect(root.text).toBe("");
    expect(root.children.map(({ name, text }) => [name, text])).toEqual([
      ["b", "  t > <c>"],
      ["q:b", ""],
    ]);
    expect(root.children[1]!.attributes.get("q:y")).toBe("'");
  });

  test("keeps names that a plain object would take for its own", () => {
    const root = readXml("<a __proto__='1' constructor='2'><__proto__/></a>");
    expect([...root.attributes.keys()]).toEqual(["__proto__", "constructor"]);
    expect(root.children[0]!.name).toBe("__proto__");
  });

  test.each([...refused])("refuses %s", (_, xml, why) => {
    const error = thrownBy(xml);
    expect(error.code).toBe("policy");
    expect(error.message).toMatch(/^The domain's XML /);
    expect(error.message).toMatch(why);
  });

  test("repeats nothing of what it refuses", () => {
    expect(thrownBy("<a>\n<evil\u202ename</a>").message).toBe("The domain's XML is not well-formed (line 2)");
  });

  test("takes what is just within its limits", () => {
    expect(readXml("<a>".repeat(32) + "</a>".repeat(32)).name).toBe("a");
    expect(readXml(`<a>${"<b/>".repeat(19_999)}</a>`).children.length).toBe(19_999);
  });
});
