/** README and documents say what is there: every path and link in them leads somewhere, and README stays a first page. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

const root = resolve(import.meta.dir, "..");
const documents = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "src/protocol/SPEC.md"].concat(
  [...new Bun.Glob("docs/**/*.md").scanSync({ cwd: root })].sort(),
);
const read = (path: string) => readFileSync(join(root, path), "utf8");

/** The anchors of a document's headings, as its readers' programs make them. */
function anchorsOf(path: string): Set<string> {
  const headings = [...read(path).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

describe.each(documents)("%s", (path) => {
  const text = read(path);

  test("names files that are there", () => {
    const named = [...text.matchAll(/`((?:src|test|docs|scripts)\/[\w./-]+)`/g)].map(([, name]) => name!);
    expect(named.filter((name) => !existsSync(join(root, name)))).toEqual([]);
  });

  test("has links that lead somewhere", () => {
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
    const broken = links.filter((link) => {
      if (/^https?:/.test(link)) return false;
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? path : join(dirname(path), file);
      if (!existsSync(join(root, target))) return true;
      return anchor !== undefined && target.endsWith(".md") && !anchorsOf(target).has(anchor);
    });
    expect(broken).toEqual([]);
  });

  test("has no sentence that waits to be checked", () => {
    expect(text).not.toContain("<!--");
  });
});

test("README is a first page", () => {
  expect(read("README.md").split("\n").length).toBeLessThanOrEqual(200);
});

/** A function that a document names beside its file is in that file. */
test("docs/architecture.md names functions that are there", () => {
  const rows = read("docs/architecture.md").split("\n");
  const wrong = rows.flatMap((row) => {
    if (!/^\| \d+ \|/.test(row)) return [];
    const [, , , files = "", functions = ""] = row.split("|");
    const paths = [...files.matchAll(/`([\w./-]+\.ts)`/g)].map(([, name]) => name!);
    const folders = paths.filter((name) => name.includes("/")).map(dirname);
    const sources = paths.flatMap((name) =>
      name.includes("/")
        ? [name]
        : folders.map((folder) => join(folder, name)).filter((at) => existsSync(join(root, at))),
    );
    const code = sources.map(read).join("\n");
    return [...functions.matchAll(/`(?:\w+\.)?(#?\w+)`/g)]
      .map(([, name]) => name!)
      .filter((name) => !new RegExp(`(?<![\\w.])${name}\\b\\s*[(<=]`).test(code))
      .map((name) => `${name}: ${sources}`);
  });
  expect(wrong).toEqual([]);
});
