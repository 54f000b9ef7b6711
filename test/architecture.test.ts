/** The shape of the house, as a test: which folder may know of which, and what every file keeps to. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dir, "..");
const longestFileLines = 400;
const mostFilesInFolder = 20;

/** What a folder of src/ may import besides itself. `protocol/` stands for the errors and the wire format. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  platform: ["protocol"],
  home: ["protocol", "platform"],
  channel: ["home", "protocol", "platform"],
  transfer: ["channel", "protocol", "platform"],
  vm: ["home", "protocol", "platform"],
  ssh: ["channel", "protocol", "platform"],
  attestation: ["channel", "home", "protocol", "platform"],
  migration: ["transfer", "vm", "attestation", "channel", "home", "protocol", "platform"],
  profiler: ["transfer", "vm", "channel", "protocol", "platform"],
  // Only what a migration tells; see the test below.
  terminal: ["migration", "protocol"],
  commands: [
    "migration",
    "profiler",
    "transfer",
    "vm",
    "ssh",
    "attestation",
    "channel",
    "home",
    "protocol",
    "platform",
    "terminal",
  ],
};

/**
 * The rooms of a folder, from those that know nobody to those that know most: each may import what stands
 * before it, and rooms that stand in one row may not import each other.
 */
const rooms: Readonly<Record<string, readonly (readonly string[])[]>> = {
  transfer: [["compression"], ["chunks", "streams"], ["reuse"], ["landing"], ["lanes"], ["doors"]],
  "transfer/reuse": [["store"], ["repeats"]],
  attestation: [["structures"], ["tpm", "credential", "logs"], ["policy"], ["evidence"], ["."]],
  vm: [["disks"], ["folder"], ["confinement"], ["tpm"], ["qemu", "libvirt"], ["holders"]],
  "vm/qemu": [["qmp"], ["images"], ["agent", "definition", "outgoing"], ["."], ["processor", "attendants"]],
  "vm/libvirt": [["xml"], ["definition", "rpc"], ["."]],
  "vm/libvirt/definition": [["rules"], ["."]],
  migration: [
    ["ownership"],
    ["journal"],
    ["receipts"],
    ["report"],
    ["providers"],
    ["proofs"],
    ["source", "destination"],
    ["operator"],
  ],
  profiler: [["statistics"], ["notation"], ["engine"], ["runs"], ["figures"], ["report"]],
  "profiler/engine": [["account"], ["records"], ["."]],
  commands: [
    ["cli"],
    ["send"],
    ["attest", "demo", "doctor", "explain", "ls", "profile", "ssh-side", "upkeep", "vms"],
    ["."],
  ],
};

/** A file that calls itself pure, and all of the wire format and of ownership: no clock, no socket, no file, no chance. */
const pure = (path: string) =>
  path.startsWith("src/protocol/") ||
  path.startsWith("src/migration/ownership/") ||
  /\bPure[.:;]/.test(headOf(path));

/** What a pure file may take from elsewhere: functions of their arguments alone. */
const pureImports: Readonly<Record<string, readonly string[] | "all">> = {
  valibot: "all",
  jstat: "all",
  saxes: "all",
  "node:crypto": ["createHash", "createHmac", "createCipheriv", "hkdfSync", "timingSafeEqual"],
  "node:path": ["basename", "dirname", "extname", "join", "normalize"],
};

interface Import {
  /** What is imported by name; empty where the whole is. */
  names: string[];
  /** As it is written. */
  specifier: string;
  /** The file within the repository; undefined for packages. */
  target: string | undefined;
  typeOnly: boolean;
}

const sources = filesUnder("src");
const tests = filesUnder("test");

function filesUnder(folder: string): string[] {
  return [...new Bun.Glob(`${folder}/**/*.ts`).scanSync({ cwd: root })].sort();
}

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** The comment that a file begins with. */
function headOf(path: string): string {
  return /^\s*\/\*\*[\s\S]*?\*\//.exec(read(path))?.[0] ?? "";
}

/** The text without comments, so that a word in a sentence is not taken for code. */
function codeOf(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
}

/** Every static, dynamic and re-exporting import, and the workers a file starts. */
function importsOf(path: string): Import[] {
  const code = codeOf(read(path));
  const found = [
    ...code.matchAll(/^\s*(?:import|export)\s+(type\s)?([^"';]*?\sfrom\s+)?"([^"]+)"/gm),
    ...code.matchAll(/\bimport\(\s*()()"([^"]+)"/g),
  ];
  return found.map(([, type, clause = "", specifier = ""]) => ({
    names: /\{([^}]*)\}/.exec(clause)?.[1]?.match(/\b(?!type\b)\w+\b(?!\s+as\b)/g) ?? [],
    specifier,
    target: specifier.startsWith(".") ? relative(root, join(root, dirname(path), specifier)) : undefined,
    typeOnly: type !== undefined && type !== "",
  }));
}

const folderOf = (path: string) => path.split("/")[1] ?? "";

/** Which room of `folder` (below src/) a file lies in; "." for the folder itself, undefined outside of it. */
function roomOf(path: string, folder: string): string | undefined {
  const inside = `src/${folder}/`;
  if (!path.startsWith(inside)) return undefined;
  const [room = "", ...rest] = path.slice(inside.length).split("/");
  return rest.length === 0 ? "." : room;
}

/** Lines "file: what is wrong" for all files; a test expects none. */
function faults(paths: readonly string[], find: (path: string) => readonly string[]): string[] {
  return paths.flatMap((path) => find(path).map((fault) => `${path}: ${fault}`));
}

describe("imports", () => {
  test("arrows point one way", () => {
    const wrong = faults(sources, (path) => {
      // main.ts and the workers stand above the folders and start what they need.
      if (!path.slice("src/".length).includes("/")) return [];
      const allowed = arrows[folderOf(path)];
      if (allowed === undefined) return ["stands in a folder that has no arrows here"];
      return importsOf(path)
        .filter(({ target }) => target?.startsWith("src/") && folderOf(target) !== folderOf(path))
        .filter(({ target = "" }) => !allowed.includes(folderOf(target)))
        .map(({ target }) => `may not import ${target}`);
    });
    expect(wrong).toEqual([]);
  });

  test("arrows within a folder point one way, from room to room", () => {
    const wrong = Object.entries(rooms).flatMap(([folder, order]) => {
      const rank = (room: string) => order.findIndex((row) => row.includes(room));
      return faults(sources, (path) => {
        const from = roomOf(path, folder);
        if (from === undefined) return [];
        if (rank(from) < 0) return [`stands in a room of ${folder} that has no arrows here`];
        return importsOf(path).flatMap(({ target = "" }) => {
          const to = roomOf(target, folder);
          if (to === undefined || to === from || rank(to) < rank(from)) return [];
          return [`may not import ${target}`];
        });
      });
    });
    expect(wrong).toEqual([]);
  });

  test("only the providers know what a VM runs under", () => {
    const wrong = faults(sources, (path) => {
      const room = roomOf(path, "migration");
      if (room === undefined || room === "providers") return [];
      return importsOf(path).flatMap(({ target = "" }) =>
        /^src\/vm\/(?:qemu|libvirt)\//.test(target) ? [`may not import ${target}`] : [],
      );
    });
    expect(wrong).toEqual([]);
  });

  test("the terminal draws from the events alone, and only commands and main.ts know it", () => {
    const wrong = faults(sources, (path) =>
      importsOf(path).flatMap(({ target, typeOnly }) => {
        if (folderOf(path) === "terminal" && target?.startsWith("src/migration/"))
          return target === "src/migration/report/events.ts" && typeOnly ? [] : [`draws from ${target}`];
        const outside =
          folderOf(path) !== "terminal" && folderOf(path) !== "commands" && path !== "src/main.ts";
        return target?.startsWith("src/terminal/") && outside ? [`may not know ${target}`] : [];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test("commands take of the channel only who a host is, where it is reached, and whom it trusts", () => {
    const known = [
      ...["identity", "address", "trust", "trusted/trust-terms", "ticket", "fingerprint"],
      "transport/made-way",
    ].map((name) => `src/channel/${name}.ts`);
    const wrong = faults(
      sources.filter((path) => folderOf(path) === "commands"),
      (path) =>
        importsOf(path).flatMap(({ target }) =>
          target?.startsWith("src/channel/") && !known.includes(target) ? [`may not import ${target}`] : [],
        ),
    );
    expect(wrong).toEqual([]);
  });

  test("an identity is loaded where its TPM can be asked for the key, and nowhere else", () => {
    const loads = ({ target, names }: Import) =>
      target === "src/channel/identity.ts" && names.includes("loadIdentity");
    const wrong = faults(sources, (path) =>
      path !== "src/attestation/host-identity.ts" && importsOf(path).some(loads) ? ["loads an identity"] : [],
    );
    expect(wrong).toEqual([]);
  });

  test("pure files import pure files alone, and functions of their arguments", () => {
    const allows = ({ specifier, names }: Import) => {
      const allowed = pureImports[specifier] ?? [];
      return allowed === "all" || (names.length > 0 && names.every((name) => allowed.includes(name)));
    };
    const wrong = faults(sources.filter(pure), (path) =>
      importsOf(path).flatMap((found) =>
        found.typeOnly ||
        allows(found) ||
        (found.target !== undefined && (pure(found.target) || found.target.endsWith(".json")))
          ? []
          : [`imports ${found.specifier}`],
      ),
    );
    expect(wrong).toEqual([]);
    expect(sources.filter(pure).length).toBeGreaterThan(60);
  });

  test("pure files read no clock, no randomness and nothing of the process", () => {
    const impure =
      /\b(?:Date\.now|new Date\(\)|performance\.|Math\.random|crypto\.|process\.|Bun\.(?!stringWidth|zstdDecompressSync)|setTimeout|setInterval|fetch\()/;
    const wrong = faults(sources.filter(pure), (path) => codeOf(read(path)).match(impure)?.slice(0, 1) ?? []);
    expect(wrong).toEqual([]);
  });

  test("modules of the platform are named with node: or bun:, and files with their ending", () => {
    const wrong = faults([...sources, ...tests], (path) =>
      importsOf(path).flatMap(({ specifier, target }) => {
        if (target !== undefined) return /\.(ts|json)$/.test(target) ? [] : [`${specifier} has no ending`];
        return builtinModules.includes(specifier) && !/^(node|bun):/.test(specifier) && specifier !== "bun"
          ? [`${specifier} has no prefix`]
          : [];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test("there is no circle of imports between files, types included", () => {
    const targets = new Map(
      sources.map((path) => [path, importsOf(path).flatMap(({ target }) => target ?? [])]),
    );
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (path: string, way: readonly string[]): void => {
      if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(" -> "));
      else if (!done.has(path)) for (const target of targets.get(path) ?? []) visit(target, [...way, path]);
      done.add(path);
    };
    for (const path of sources) visit(path, []);
    expect(circles).toEqual([]);
  });
});

describe("files", () => {
  test(`no file of the program has more than ${longestFileLines} lines`, () => {
    const wrong = faults(sources, (path) => {
      const lines = read(path).split("\n").length - 1;
      return lines > longestFileLines ? [`${lines} lines`] : [];
    });
    expect(wrong).toEqual([]);
  });

  test(`no folder has more than ${mostFilesInFolder} files`, () => {
    const counts = new Map<string, number>();
    for (const path of [...sources, ...tests])
      counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
    expect([...counts].filter(([, files]) => files > mostFilesInFolder)).toEqual([]);
  });

  test("no file is a drawer for odds and ends", () => {
    expect(
      [...sources, ...tests].filter((path) => /\/(utils?|helpers?|misc|common)\.ts$/.test(path)),
    ).toEqual([]);
  });

  test("only main.ts ends the process", () => {
    const ends = faults(
      sources,
      (path) =>
        codeOf(read(path))
          .match(/\bprocess\s*\.\s*(?:exit|abort|reallyExit)\b/)
          ?.slice(0, 1) ?? [],
    );
    expect(ends).toEqual(["src/main.ts: process.exit"]);
  });

  test("only what writes for people writes to standard output", () => {
    const wrong = faults(
      sources,
      (path) => codeOf(read(path)).match(/\bconsole\.\w+|\bprocess\.std(?:out|err)\.write/g) ?? [],
    );
    expect(wrong).toEqual([]);
  });

  test("no test is left out", () => {
    const word = new RegExp(
      `\\.(?:${["only", "skip", "todo", "skipIf", "todoIf", "if"].join("|")})\\(|\\b(?:${["xtest", "xit"].join("|")})\\(`,
    );
    const files = tests.filter((path) => path.endsWith(".test.ts"));
    const wrong = faults(files, (path) =>
      codeOf(read(path))
        .split("\n")
        .filter((line) => /\b(?:test|it|describe)\b/.test(line) && word.test(line)),
    );
    expect(wrong).toEqual([]);
    expect(files.length).toBeGreaterThan(10);
  });
});

describe("the project", () => {
  test("bun.lock names no registry: each machine has its own", () => {
    expect(read("bun.lock").match(/https?:\/\/[^"]+/g) ?? []).toEqual([]);
  });

  test("every dependency is pinned to one version", () => {
    const manifest = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
    expect(versions.length).toBeGreaterThan(5);
  });

  test("each worker that is started is an entry point of the binary, and the other way round", () => {
    const code = sources.map((path) => ({ path, code: codeOf(read(path)) }));
    const started = code.flatMap((file) =>
      [...file.code.matchAll(/\bspawnWorker\("(\w+)"\)/g)].map(([, name]) => name),
    );
    const entries = sources.filter((path) => path.endsWith(".worker.ts"));
    expect([...new Set(started)].map((name) => `src/${name}.worker.ts`).sort()).toEqual(entries);
    const makers = code.filter((file) => /\bnew Worker\(/.test(file.code)).map(({ path }) => path);
    expect(makers).toEqual(["src/platform/worker.ts"]);
  });
});
