import { describe, expect, test } from "bun:test";
import {
  linkSync,
  mkdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { adHocVm, loadVm } from "../../../src/vm/folder/vm-folder.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let top: string;
let folder: string;
eachTestInFolder("migrate-folder-", (made) => {
  top = realpathSync(made);
  folder = join(top, "web1");
  mkdirSync(folder);
});

function manifest(
  files: { kind: string; file: string; bytes?: number; format?: string }[],
  more: object = {},
): void {
  writeFileSync(
    join(folder, "vm.json"),
    JSON.stringify({ format: "migrate-vm/1", name: "web1", files, ...more }),
  );
}

function write(name: string, content: string | Uint8Array = "content"): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const refusal = (make: () => unknown) => refusalOf(make, "vm-invalid");

/** The first bytes of a qcow2 image with a backing file. */
function overlay(): Buffer {
  const bytes = Buffer.alloc(104);
  bytes.write("QFI\xfb", 0, "latin1");
  bytes.writeUInt32BE(3, 4);
  bytes.writeBigUInt64BE(512n, 8);
  return bytes;
}

/** A file that nobody may read, not even root: sysfs refuses where it has nothing to show. */
const unreadable = "/sys/bus/cpu/uevent";

describe("a VM by its folder", () => {
  test("has its files with their sizes and what tells them apart", () => {
    const id = "01234567-89ab-cdef-0123-456789abcdef";
    const disk = write("disk.raw");
    truncateSync(disk, 64 * 1024 * 1024);
    const ram = write("web1.ram", "");
    mkdirSync(join(folder, "tpm"));
    const tpm = write("tpm/tpm2-00.permall", "state");
    manifest(
      [
        { kind: "ram", file: "web1.ram" },
        { kind: "disk", file: "disk.raw", bytes: 5 },
        { kind: "tpm", file: "tpm/tpm2-00.permall" },
      ],
      { id },
    );
    const vm = loadVm(folder);
    expect(vm).toMatchObject({ name: "web1", id, folder });
    expect(vm.manifest?.files).toHaveLength(3);
    expect(vm.files.map(({ kind, path, base, bytes }) => ({ kind, path, base, bytes }))).toEqual([
      { kind: "ram", path: ram, base: "web1.ram", bytes: 0 },
      { kind: "disk", path: disk, base: "disk.raw", bytes: 64 * 1024 * 1024 },
      { kind: "tpm", path: tpm, base: "tpm/tpm2-00.permall", bytes: 5 },
    ]);
    const stat = statSync(disk, { bigint: true });
    const { dev, ino, birthtimeNs, mtimeNs, allocatedBytes } = vm.files[1]!;
    expect({ dev, ino, birthtimeNs, mtimeNs }).toEqual({
      dev: stat.dev,
      ino: stat.ino,
      birthtimeNs: stat.birthtimeNs,
      mtimeNs: stat.mtimeNs,
    });
    expect(allocatedBytes).toBe(Number(stat.blocks) * 512);
    expect(allocatedBytes).toBeLessThan(1024 * 1024);
  });

  test("may be given through a link, and a link inside it may lead to a file inside it", () => {
    write("real.raw");
    symlinkSync("real.raw", join(folder, "disk.raw"));
    symlinkSync(folder, join(top, "link"));
    manifest([{ kind: "disk", file: "disk.raw" }]);
    const vm = loadVm(join(top, "link"));
    expect(vm.folder).toBe(folder);
    expect(vm.files[0]).toMatchObject({ path: join(folder, "real.raw"), base: "disk.raw" });
  });

  test("has the TPM's state that its swtpm has left, where it arrived while it ran", () => {
    write("disk.raw");
    mkdirSync(join(folder, "tpm"));
    for (const name of ["tpm2-00.permall", ".lock"]) write(`tpm/${name}`);
    manifest([{ kind: "disk", file: "disk.raw" }], { definition: {} });
    expect(loadVm(folder).files.map(({ kind, base }) => [kind, base])).toEqual([
      ["disk", "disk.raw"],
      ["tpm", "tpm/tpm2-00.permall"],
    ]);
    manifest([{ kind: "disk", file: "disk.raw" }]);
    expect(loadVm(folder).files).toHaveLength(1);
  });

  test("is refused where a link leaves it: a file, the TPM's folder, or one that only looks alike", () => {
    writeFileSync(join(top, "outside"), "secret");
    symlinkSync("../outside", join(folder, "disk.raw"));
    manifest([{ kind: "disk", file: "disk.raw" }]);
    expect(refusal(() => loadVm(folder)).message).toContain("leaves the VM's folder");

    mkdirSync(join(top, "web10"));
    writeFileSync(join(top, "web10", "state"), "secret");
    symlinkSync("../web10", join(folder, "tpm"));
    manifest([{ kind: "tpm", file: "tpm/state" }]);
    expect(refusal(() => loadVm(folder)).message).toContain("leaves the VM's folder");
  });

  test("is refused where it is missing, and says so where it was sent away", () => {
    const missing = join(top, "web2");
    expect(refusal(() => loadVm(missing)).message).toBe(`The VM's folder ${missing} does not exist`);
    expect(refusal(() => loadVm(missing)).hint).toBeUndefined();
    renameSync(folder, `${folder}.migrated`);
    expect(refusal(() => loadVm(folder)).hint).toContain("sent to another host");
  });

  test("is refused where it is a file, or has no vm.json, or a broken one", () => {
    expect(refusal(() => loadVm(write("file"))).message).toContain("is not a folder");
    expect(refusal(() => loadVm(folder)).message).toContain("has no vm.json");
    manifest([{ kind: "disk", file: "../disk.raw" }]);
    expect(refusal(() => loadVm(folder)).message).toContain("files[0].file leaves the VM's folder");
  });

  test("is refused where a file is missing, is a folder, or is named twice", () => {
    manifest([{ kind: "disk", file: "disk.raw" }]);
    expect(refusal(() => loadVm(folder)).message).toBe(`${join(folder, "disk.raw")} does not exist`);
    mkdirSync(join(folder, "disk.raw"));
    expect(refusal(() => loadVm(folder)).message).toContain("is not a regular file");
    rmSync(join(folder, "disk.raw"), { recursive: true });
    write("disk.raw");
    manifest([
      { kind: "disk", file: "disk.raw" },
      { kind: "ram", file: "disk.raw" },
    ]);
    expect(refusal(() => loadVm(folder)).message).toContain("have the same name, disk.raw");
  });
});

describe("a VM by its files", () => {
  test("keeps the names given, RAM first, the TPM's state last and without its lock", () => {
    const ram = write("a.ram");
    const real = write("real.raw");
    symlinkSync("real.raw", join(folder, "root.raw"));
    mkdirSync(join(folder, "state"));
    for (const name of ["tpm2-00.volatilestate", "tpm2-00.permall", ".lock"]) write(`state/${name}`);
    const vm = adHocVm({
      name: "web1",
      ram,
      disks: [join(folder, "root.raw")],
      tpmStateDir: join(folder, "state"),
    });
    expect(vm.files.map(({ kind, base }) => [kind, base])).toEqual([
      ["ram", "a.ram"],
      ["disk", "root.raw"],
      ["tpm", "tpm/tpm2-00.permall"],
      ["tpm", "tpm/tpm2-00.volatilestate"],
    ]);
    expect(vm.files[1]!.path).toBe(real);
    expect(vm).not.toHaveProperty("folder");
    expect(vm).not.toHaveProperty("manifest");
  });

  test("may have no RAM, and an empty disk", () => {
    expect(adHocVm({ name: "web1", disks: [write("empty.raw", "")] }).files).toMatchObject([{ bytes: 0 }]);
  });

  const refused: [what: string, make: () => unknown, sentence: string][] = [
    ["no file at all", () => adHocVm({ name: "web1", disks: [] }), "has no file at all"],
    ["a bad name", () => adHocVm({ name: "a/b", disks: [write("d")] }), "cannot have this name"],
    ["a missing disk", () => adHocVm({ name: "web1", disks: [join(folder, "d")] }), "does not exist"],
    [
      "a path through a file",
      () => adHocVm({ name: "web1", disks: [join(write("d"), "e")] }),
      "does not exist",
    ],
    ["a folder as a disk", () => adHocVm({ name: "web1", disks: [folder] }), "is not a regular file"],
    ["a device as a disk", () => adHocVm({ name: "web1", disks: ["/dev/null"] }), "is not a regular file"],
    ["a disk called vm.json", () => adHocVm({ name: "web1", disks: [write("vm.json")] }), '"vm.json"'],
    ["a hidden disk", () => adHocVm({ name: "web1", disks: [write(".d")] }), 'start with "."'],
    ["an unreadable disk", () => adHocVm({ name: "web1", disks: [unreadable] }), "permission denied"],
    [
      "a disk that is not whole",
      () => adHocVm({ name: "web1", disks: [write("d", overlay())] }),
      "not a whole disk",
    ],
    [
      "no TPM folder",
      () => adHocVm({ name: "web1", disks: [], tpmStateDir: join(folder, "t") }),
      "does not exist",
    ],
  ];
  for (const [what, make, sentence] of refused) {
    test(`is refused with ${what}`, () => expect(refusal(make).message).toContain(sentence));
  }

  test("is refused where two files have the same base name, or are one file under two names", () => {
    mkdirSync(join(folder, "x"));
    const disks = [write("d"), write("x/d")];
    expect(refusal(() => adHocVm({ name: "web1", disks })).message).toContain("have the same name, d:");
    linkSync(disks[0]!, join(folder, "e"));
    expect(refusal(() => adHocVm({ name: "web1", disks: [disks[0]!, join(folder, "e")] })).message).toContain(
      "one and the same file",
    );
  });

  test("is refused with too many files", () => {
    const disks = Array.from({ length: 65 }, (_, i) => write(`d${i}`, ""));
    expect(adHocVm({ name: "web1", disks: disks.slice(1) }).files).toHaveLength(64);
    expect(refusal(() => adHocVm({ name: "web1", disks })).message).toContain("more than 64 files");
  });

  test("is refused with a TPM's folder that is empty, nested or holds what is no file", () => {
    const state = join(folder, "state");
    const make = () => adHocVm({ name: "web1", disks: [], tpmStateDir: state });
    mkdirSync(state);
    write("state/.lock", "");
    expect(refusal(make).message).toContain("holds no state");
    mkdirSync(join(state, "tpm2"));
    expect(refusal(make).message).toContain("has a folder inside, tpm2");
    rmSync(join(state, "tpm2"), { recursive: true });
    symlinkSync("/dev/null", join(state, "socket"));
    expect(refusal(make).message).toContain("is not a regular file");
  });

  test("is refused where its disks claim more than can be sent", () => {
    const disks = ["a", "b", "c"].map((name) => {
      const path = write(name, "");
      truncateSync(path, 3 * 2 ** 40);
      return path;
    });
    expect(adHocVm({ name: "web1", disks: disks.slice(1) }).files).toHaveLength(2);
    expect(refusal(() => adHocVm({ name: "web1", disks })).message).toContain(
      "the largest one that can be sent",
    );
  });
});

// [IMG-1] [IMG-2]
describe("what a disk is", () => {
  test("is what vm.json says, whatever a guest wrote on it", () => {
    write("disk.raw", overlay());
    manifest([{ kind: "disk", file: "disk.raw", format: "raw" }]);
    expect(loadVm(folder).files).toMatchObject([{ base: "disk.raw", format: "raw" }]);
    manifest([{ kind: "disk", file: "disk.raw", format: "qcow2" }]);
    expect(refusal(() => loadVm(folder)).message).toContain("it has a backing file");
    manifest([{ kind: "disk", file: "disk.raw", format: "vmdk" }]);
    expect(refusal(() => loadVm(folder)).message).toContain('files[0].format must be "raw" or "qcow2"');
  });

  test("is told from the file if nobody says it, and refused with a way out if that may be wrong", () => {
    const path = write("disk.raw", overlay());
    write("plain.raw");
    manifest([{ kind: "disk", file: "disk.raw" }]);
    expect(refusal(() => loadVm(folder)).hint).toContain(
      `write "format": "raw" beside its name in ${join(folder, "vm.json")}`,
    );
    expect(refusal(() => adHocVm({ name: "web1", disks: [path] })).hint).toContain(`--raw-disk ${path}`);
    const { files } = adHocVm({ name: "web1", disks: [join(folder, "plain.raw")], rawDisks: [path] });
    expect(files.map(({ base, format }) => [base, format])).toEqual([
      ["plain.raw", "raw"],
      ["disk.raw", "raw"],
    ]);
  });

  test("is nothing of what is no image", () => {
    manifest([{ kind: "ram", file: "web1.ram" }]);
    write("web1.ram", overlay());
    expect("format" in loadVm(folder).files[0]!).toBe(false);
  });
});
