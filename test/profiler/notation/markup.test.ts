import { describe, expect, test } from "bun:test";
import { escapeMarkup, markup, trustedMarkup } from "../../../src/profiler/notation/markup.ts";

describe("markup", () => {
  test("escapes what it is given, in text and in attributes", () => {
    const text = `<b title='"'>&amp;`;
    expect(markup`<p title="${text}">${text}</p>`.text).toBe(
      '<p title="&lt;b title=&#39;&quot;&#39;&gt;&amp;amp;">&lt;b title=&#39;&quot;&#39;&gt;&amp;amp;</p>',
    );
  });

  test("does not escape twice what is markup already, nor what is trusted", () => {
    const inner = markup`<b>${"<"}</b>`;
    expect(markup`${inner}${trustedMarkup("<i>")}`.text).toBe("<b>&lt;</b><i>");
  });

  test("joins lists, writes numbers and leaves out what is undefined", () => {
    expect(markup`${["a", "<", markup`<br>`, [1]]}${0}${undefined}`.text).toBe("a&lt;<br>10");
  });
});

describe("escaped text", () => {
  test("has no character that XML cannot carry", () => {
    const wild = String.fromCharCode(0, 8, 11, 12, 27, 127, 0x9b, 0xd800, 0xfffe, 0xffff);
    expect(escapeMarkup(`a${wild}b`)).toBe(`a${"\ufffd".repeat(wild.length)}b`);
  });

  test("keeps tabs, line ends and all other letters", () => {
    expect(escapeMarkup("\t\r\nÄ✓𝄞")).toBe("\t\r\nÄ✓𝄞");
  });
});
