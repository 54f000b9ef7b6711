/** What a QEMU's command line says of its VM, in the forms that people and programs write it. */
import { expect, test } from "bun:test";
import { describeQemu } from "../../../src/vm/qemu/host-vms.ts";

const qmp = ["-qmp", "unix:/run/web1.qmp,server=on,wait=off"];
const mebibyte = 2 ** 20;

test("what a person types", () => {
  const words =
    "-name web1 -m 2G -smp 2 -drive file=/srv/web1.qcow2,format=qcow2,if=virtio -hda old.img -display none";
  expect(describeQemu([...words.split(" "), ...qmp])).toEqual({
    name: "web1",
    ramBytes: 2 ** 31,
    disks: ["/srv/web1.qcow2", "old.img"],
    qmpPath: "/run/web1.qmp",
    hasTpm: false,
    isLibvirts: false,
  });
});

test("what a program writes: blockdevs in JSON, a monitor on a chardev, firmware, a TPM", () => {
  const json = (value: object) => JSON.stringify(value);
  const words = [
    ...["-name", "guest=db,debug-threads=on", "-m", "size=524288k,slots=2,maxmem=4G"],
    ...["-machine", "q35,pflash0=code-format"],
    ...["-blockdev", json({ driver: "file", filename: "/usr/share/OVMF.fd", "node-name": "code-file" })],
    ...["-blockdev", json({ driver: "raw", file: "code-file", "node-name": "code-format" })],
    ...["-blockdev", json({ driver: "file", filename: "/srv/a.img", "node-name": "a-file" })],
    ...["-blockdev", json({ driver: "raw", file: "a-file", "node-name": "a" })],
    ...[
      "-blockdev",
      json({ driver: "qcow2", file: { driver: "file", filename: "/srv/b" }, "node-name": "b" }),
    ],
    ...["-blockdev", "driver=qcow2,node-name=c,file.driver=file,file.filename=/srv/c,,d"],
    ...["-drive", "if=pflash,format=raw,file=/srv/vars.fd"],
    ...["-chardev", "socket,id=charmonitor,path=/run/db.sock,server=on,wait=off"],
    ...["-mon", "chardev=charmonitor,id=monitor,mode=control"],
    ...["-tpmdev", "emulator,id=tpm0,chardev=tpm"],
  ];
  expect(describeQemu(words)).toEqual({
    name: "db",
    ramBytes: 512 * mebibyte,
    disks: ["/srv/a.img", "/srv/b", "/srv/c,d"],
    qmpPath: "/run/db.sock",
    hasTpm: true,
    isLibvirts: false,
  });
});

test.each([
  [["-m", "384"], 384 * mebibyte],
  [["-m", "1.5G"], 1536 * mebibyte],
  [["-m", "256MiB"], 256 * mebibyte],
  [["-m", "slots=2,size=64M"], 64 * mebibyte],
  [[], 128 * mebibyte],
  [["-m", "lots"], null],
  [["-m", "9".repeat(40)], null],
])("%j is RAM of %d bytes", (words, ramBytes) => {
  expect(describeQemu([...words, ...qmp]).ramBytes).toBe(ramBytes);
});

test.each([
  [["-qmp", "unix:/run/q,server,nowait"], "/run/q"],
  [["--qmp", "unix:q,,1=x,server=on"], "q,1=x"],
  [["-qmp", "tcp:localhost:4444,server=on", "-qmp", "unix:/run/q,server=on"], "/run/q"],
  [["-mon", "c,mode=control", "-chardev", "socket,id=c,path=/run/q,server"], "/run/q"],
])("%j is a QMP socket", (words, path) => {
  expect(describeQemu(words).qmpPath).toBe(path);
});

test.each([
  [[]],
  [["-qmp"]],
  [["-qmp", "tcp:localhost:4444,server=on"]],
  [["-qmp", "unix:/run/somebody-elses"]],
  [["-qmp", "unix:/run/somebody-elses,server=off"]],
  [["-monitor", "unix:/run/q,server=on"]],
  [["-mon", "chardev=c,mode=readline", "-chardev", "socket,id=c,path=/run/q,server=on"]],
  [["-mon", "chardev=c,mode=control", "-chardev", "socket,id=other,path=/run/q,server=on"]],
  [["-mon", "chardev=c,mode=control", "-chardev", "socket,id=c,fd=22,server=on"]],
])("%j has none that can be connected to", (words) => {
  expect(describeQemu(words).qmpPath).toBeNull();
});

test("what nobody can read is left out, and stops nothing", () => {
  const odd = ["-blockdev", "{not json", "-name", ",,,=", "-drive", "", "-chardev", "=", "-m"];
  expect(describeQemu([...odd, ...qmp])).toMatchObject({ disks: [], qmpPath: "/run/web1.qmp" });
});

test("what libvirt runs is known by the key that it hands to each QEMU", () => {
  const key = {
    "qom-type": "secret",
    id: "masterKey0",
    format: "raw",
    file: "/var/lib/q/d-1/master-key.aes",
  };
  const keys = "secret,id=masterKey0,format=raw,file=/var/lib/q/d-1/master-key.aes";
  for (const object of [JSON.stringify(key), keys])
    expect(describeQemu(["-name", "guest=web1,debug-threads=on", "-object", object])).toMatchObject({
      name: "web1",
      qmpPath: null,
      isLibvirts: true,
    });
  expect(describeQemu(["-object", "secret,id=own,file=/srv/master-key.aes"]).isLibvirts).toBe(false);
});
