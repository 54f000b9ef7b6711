import { describe, expect, test } from "bun:test";
import {
  bar,
  columnsOf,
  cut,
  ellipsis,
  flowed,
  padEnd,
  padStart,
  paint,
  plainStyle,
  styleFor,
  wrapped,
} from "../../src/terminal/line.ts";
import { type Column, tableLines } from "../../src/terminal/table.ts";

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

describe("a table that is wider than the terminal", () => {
  const columns: Column<{ id: string; name: string; where: string }>[] = [
    { title: "ID", cell: (row) => row.id, short: (row) => row.id.slice(0, 4) },
    { title: "NAME", cell: (row) => row.name },
    { title: "WHERE", cell: (row) => row.where },
  ];
  const rows = [
    { id: "0123456789", name: "web1", where: "/srv/vms/web1" },
    { id: "abcdefghij", name: "", where: "/srv" },
  ];
  const within = (width: number) => tableLines(columns, rows, plainStyle, width);

  test("shows the short cells in place of the long ones", () => {
    expect(within(33)[1]).toBe("0123456789  web1  /srv/vms/web1".trimEnd());
    expect(within(30)).toEqual(["ID    NAME  WHERE", "0123  web1  /srv/vms/web1", "abcd        /srv"]);
  });

  test("tells each row in lines of its own if that does not help, and leaves empty cells out", () => {
    expect(within(24)).toEqual(["0123", "  NAME web1", "  WHERE /srv/vms/web1", "abcd", "  WHERE /srv"]);
  });

  test("leaves whole what is wider than the terminal by itself: a path is there to be copied", () => {
    expect(within(10)).toContain("  WHERE /srv/vms/web1");
  });
});

test("text is broken at its spaces, and a word that is too wide is left whole", () => {
  expect(wrapped("one two  three\nfour", 8)).toEqual(["one two", "three", "four"]);
  expect(wrapped("a 0123456789 b", 5)).toEqual(["a", "0123456789", "b"]);
  expect(wrapped("as it is", Number.POSITIVE_INFINITY)).toEqual(["as it is"]);
  expect(wrapped(["[--a B]", "[--c]"], 8)).toEqual(["[--a B]", "[--c]"]);
});

test("a bar has its columns whatever part of it is filled, and no characters beyond ASCII where there are none", () => {
  expect(bar(plainStyle, "cyan", 0.5, 4)).toBe("##--");
  expect(bar(plainStyle, "cyan", 0.999, 10)).toBe("#########-");
  expect(bar({ colour: false, unicode: true }, "cyan", 1, 3)).toBe("███");
  expect([ellipsis(plainStyle), ellipsis({ colour: false, unicode: true })]).toEqual(["...", "…"]);
});

test("a line that is too wide flows on below itself, indented", () => {
  expect(flowed("error: one two three\n  four five", 12)).toBe("error: one\n  two three\n  four five");
  expect(flowed("  digest sha256:0123456789, checked", 16)).toBe(
    "  digest\n    sha256:0123456789,\n    checked",
  );
  expect(flowed("0123456789", 5)).toBe("0123456789");
});
