/** ssh://[user@]host[:port][/store]: what is read, how it is written again, and what no ssh or shell is ever given. */
import { describe, expect, test } from "bun:test";
import { parseSshAddress, sshAddressText, sshLogin } from "../../src/ssh/ssh-address.ts";

const good: [text: string, read: object, login: string][] = [
  ["ssh://hostb", { host: "hostb" }, "hostb"],
  [
    "ssh://root@hostb:2222/srv/vms",
    { user: "root", host: "hostb", port: 2222, store: "/srv/vms" },
    "-p 2222 root@hostb",
  ],
  ["ssh://[2001:db8::7]:22", { host: "2001:db8::7", port: 22 }, "-p 22 2001:db8::7"],
  ["ssh://[fe80::1%eth0]/vms", { host: "fe80::1%eth0", store: "/vms" }, "fe80::1%eth0"],
  ["ssh://a.b-c_1@rack-2.example", { user: "a.b-c_1", host: "rack-2.example" }, "a.b-c_1@rack-2.example"],
  ["ssh://hostb/srv/größe/v+1", { host: "hostb", store: "/srv/größe/v+1" }, "hostb"],
];

describe.each(good)("%s", (text, read, login) => {
  test("is read, and written the same again", () => {
    const address = parseSshAddress(text);
    expect(address as object).toEqual(read);
    expect(sshAddressText(address)).toBe(text);
    expect(sshLogin(address)).toBe(login);
  });
});

test("a slash at the end makes no other store, and none at all is the host's to choose", () => {
  expect(sshAddressText(parseSshAddress("ssh://hostb/srv/vms/"))).toBe("ssh://hostb/srv/vms");
  expect(parseSshAddress("ssh://hostb/")).toEqual({ host: "hostb" });
});

test.each([
  ...[
    "ssh://",
    "ssh://@hostb",
    "ssh://-hostb",
    "ssh://-oProxyCommand=x@hostb",
    "ssh://ro ot@hostb",
    "ssh://host b",
  ],
  ...[
    "ssh://host%62",
    "ssh://a:secret@hostb",
    "ssh://hostb:0",
    "ssh://hostb:65536",
    "ssh://hostb:22a",
    "ssh://hostb:",
  ],
  ...[
    "ssh://hostb/../etc",
    "ssh://hostb/srv/./vms",
    "ssh://hostb/a b",
    "ssh://hostb/a'b",
    'ssh://hostb/a"b',
    "ssh://hostb/a$b",
  ],
  ...[
    "ssh://hostb/a`b`",
    "ssh://hostb/a\\b",
    "ssh://hostb//srv",
    "ssh://hostb/a%2e",
    "ssh://hostb/a\nb",
    "ssh://hostb/a#b",
  ],
  ...[
    "ssh://hostb/a;b",
    "ssh://hostb/a*",
    "ssh://ho\u0000st",
    "ssh://hostb/\u202evms",
    "ssh://[::1",
    "ssh://::1",
    "ssh://[hostb]",
  ],
  ...[
    "ssh://root@evil@hostb",
    "ssh://$(id)@hostb",
    "ssh://hostb?x",
    `ssh://hostb/${"a".repeat(300)}`,
    "ssh://[::1%e h]",
  ],
])("%j is refused", (text) => {
  expect(() => parseSshAddress(text)).toThrow(expect.objectContaining({ code: "usage" }));
});
