import { expect, test } from "bun:test";
import {
  bar,
  columnsOf,
  cut,
  ellipsis,
  padEnd,
  padStart,
  paint,
  plainStyle,
  styleFor,
} from "../../src/terminal/line.ts";
import { tableLines } from "../../src/terminal/table.ts";

test("text is cut to columns, not characters", () => {
  expect(cut("abcdef", 6)).toBe("abcdef");
  expect(cut("abcdef", 5)).toBe("abcd…");
  expect(cut("世界世界", 5)).toBe("世界…");
  expect(cut("世界世界", 4)).toBe("世…");
  expect(cut("abcdef", 2, "...")).toBe("..");
  expect(columnsOf(cut("世".repeat(100), 17))).toBeLessThanOrEqual(17);
});

test("padding counts columns", () => {
  expect(padEnd("世", 4)).toBe("世  ");
  expect(padStart("7", 3)).toBe("  7");
});

test("colours are there only where they are wanted", () => {
  expect(paint({ colour: true, unicode: false }, "red", "x")).toBe("\u001b[31mx\u001b[39m");
  expect(paint(plainStyle, "red", "x")).toBe("x");
});

test("NO_COLOR, TERM=dumb, the locale and what is no terminal decide the style", () => {
  const term = { TERM: "xterm", LANG: "de_DE.UTF-8" };
  expect(styleFor(term, true)).toEqual({ style: { colour: true, unicode: true }, redraws: true });
  expect(styleFor({ ...term, NO_COLOR: "1" }, true)).toEqual({
    style: { colour: false, unicode: true },
    redraws: true,
  });
  expect(styleFor({ ...term, NO_COLOR: "" }, true).style.colour).toBe(true);
  expect(styleFor({ ...term, TERM: "dumb" }, true)).toEqual({
    style: { colour: false, unicode: true },
    redraws: false,
  });
  expect(styleFor({ LANG: "C.UTF-8" }, true).redraws).toBe(false);
  expect(styleFor({ ...term, LC_ALL: "C" }, true).style.unicode).toBe(false);
  expect(styleFor(term, false)).toEqual({ style: { colour: false, unicode: true }, redraws: false });
});

test("a table is aligned by the widest cell, numbers to the right, and ends in no blanks", () => {
  const rows = [
    { name: "web1", size: "1.3 GiB" },
    { name: "世界\u001b", size: "7 B" },
  ];
  const lines = tableLines(
    [
      { title: "NAME", cell: (row) => row.name },
      { title: "SIZE", cell: (row) => row.size, align: "right" },
      { title: "", cell: () => "" },
    ],
    rows,
  );
  expect(lines).toEqual(["NAME      SIZE", "web1   1.3 GiB", "世界?      7 B"]);
});

test("a bar has its columns whatever part of it is filled, and no characters beyond ASCII where there are none", () => {
  expect(bar(plainStyle, "cyan", 0.5, 4)).toBe("##--");
  expect(bar(plainStyle, "cyan", 0.999, 10)).toBe("#########-");
  expect(bar({ colour: false, unicode: true }, "cyan", 1, 3)).toBe("███");
  expect([ellipsis(plainStyle), ellipsis({ colour: false, unicode: true })]).toEqual(["...", "…"]);
});
