/** What ssh says when it does not come through, as a sentence of ours with a code and a way out. */
import { expect, test } from "bun:test";
import { sshFailure } from "../../src/ssh/ssh-failure.ts";

const to = { user: "root", host: "hostb", port: 2222 };

// As OpenSSH 9.2 says it, with LogLevel as it is.
test.each([
  [
    "ssh: connect to host hostb port 2222: Connection refused",
    "network",
    "no ssh server answers at root@hostb:2222",
  ],
  [
    "ssh: connect to host hostb port 2222: Connection timed out",
    "network",
    "ssh to root@hostb:2222 failed: ssh: connect",
  ],
  ["ssh: Could not resolve hostname hostb: Name or service not known", "network", "the name is not known"],
  [
    "root@hostb: Permission denied (publickey,password).",
    "not-trusted",
    "does not let ssh in (it takes publickey, password)",
  ],
  [
    "Received disconnect from 192.0.2.7 port 22:2: Too many authentication failures",
    "not-trusted",
    "does not let ssh in",
  ],
  [
    "No ED25519 host key is known for hostb and you have requested strict checking.\nHost key verification failed.",
    "not-trusted",
    "does not know root@hostb:2222 by its host key yet",
  ],
  [
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
    "not-trusted",
    "another host key",
  ],
  [
    "/root/.ssh/config: line 1: Bad configuration option: frob\n/root/.ssh/config: terminating, 1 bad configuration options",
    "policy",
    "cannot use its configuration here",
  ],
  [
    "Unable to negotiate with 192.0.2.7 port 22: no matching host key type found. Their offer: ssh-rsa",
    "policy",
    "no way of speaking in common",
  ],
  ["client_loop: send disconnect: Broken pipe", "network", "Broken pipe"],
  ["", "network", "ssh to root@hostb:2222 failed"],
])("%s", (said, code, sentence) => {
  const error = sshFailure(to, said);
  expect(error.code).toBe(code as never);
  expect(error.message).toContain(sentence);
  expect(error.hint).toContain("ssh ");
});

test("the socket of an ssh that is dead is not a host that refuses", () => {
  const said =
    "Control socket connect(/tmp/x/ctl): Connection refused\nConnection reset by 192.0.2.7 port 22";
  expect(sshFailure(to, said).message).toContain("Connection reset");
});

test("what the other side writes is shown bounded, and moves no cursor", () => {
  const { message } = sshFailure(to, `banner\n\u001b[2J${"x".repeat(10_000)}\u202e\r\n`);
  expect(message.length).toBeLessThan(300);
  expect(message).not.toMatch(/[\u001b\u202e]/);
});
