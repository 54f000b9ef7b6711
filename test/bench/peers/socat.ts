/**
 * socat with 256 KiB buffers: with OpenSSL at both ends (mutual TLS, throw-away certificates) as a
 * peer, and without it, to nowhere, as what the link itself can do.
 */
import { basename, join } from "node:path";
import { peerTools } from "../../support/runner/needs.ts";
import { type Child, runChild, startChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { type Attempt, type Contender, endedWell, isRandom } from "../contender.ts";
import type { Link } from "../link.ts";

const buffers = ["-b", String(256 * 1024)];
const socatTool = peerTools.filter(({ program }) => program === "socat");

export const socat: Contender = {
  name: "socat",
  title: "socat OPENSSL (256 KiB buffers)",
  role: "peer",
  needs: [...socatTool, ...peerTools.filter(({ program }) => program === "openssl")],
  suits: () => true,
  async prepare(input, folder, link) {
    const arrivedPath = join(folder, basename(input.path));
    const [destinationPem, sourcePem] = [join(folder, "destination.pem"), join(folder, "source.pem")];
    await makeCertificate(destinationPem, "destination");
    await makeCertificate(sourcePem, "source");
    const trust = (own: string, other: string): string => `cert=${own},cafile=${other},verify=1`;
    const listen = `OPENSSL-LISTEN:0,bind=${link.address},${trust(destinationPem, sourcePem)}`;
    const there = await startListening(link, listen, `OPEN:${arrivedPath},creat,trunc,wronly`);
    const call = `OPENSSL:${link.address}:${there.port},${trust(sourcePem, destinationPem)},openssl-commonname=destination`;
    return { arrivedPath, ...attempt(link, input.path, call, there.child) };
  },
};

export const plainTcp: Contender = {
  name: "plain-tcp",
  title: "socat TCP to /dev/null (the link's limit)",
  role: "limit",
  needs: socatTool,
  suits: isRandom,
  async prepare(input, _folder, link) {
    const there = await startListening(link, `TCP-LISTEN:0,bind=${link.address}`, "OPEN:/dev/null,wronly");
    return attempt(link, input.path, `TCP:${link.address}:${there.port}`, there.child);
  },
};

/** A socat at the destination that takes one connection, and its port. */
async function startListening(
  link: Link,
  listen: string,
  target: string,
): Promise<{ child: Child; port: number }> {
  const port = Promise.withResolvers<number>();
  let log = "";
  // With -d -d it says on standard error where it listens.
  const child = startChild([...link.destination, "socat", "-d", "-d", "-u", ...buffers, listen, target], {
    onStderr(text) {
      log += text;
      const found = /listening on .*:(\d+)\n/.exec(log)?.[1];
      if (found !== undefined) port.resolve(Number(found));
    },
  });
  child.exit.then(() => port.reject(new Error(`socat ended: ${child.stderr()}`)));
  return {
    child,
    port: await withDeadline(port.promise, 10_000, () => `socat to listen; it wrote: ${log}`),
  };
}

function attempt(link: Link, path: string, call: string, destination: Child): Attempt {
  return {
    destination,
    start: () => startChild([...link.source, "socat", "-u", ...buffers, `OPEN:${path},rdonly`, call]),
    // Nothing acknowledges the end: only the destination's own end says that the bytes are there.
    arrived: async () => await endedWell(destination, "socat at the destination"),
    finish: async () => {},
  };
}

/** Key and certificate in one file, as socat's `cert` takes it. */
async function makeCertificate(path: string, commonName: string): Promise<void> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
  const certificate = ["-x509", "-days", "2", "-subj", `/CN=${commonName}`];
  await runChild(["openssl", "req", ...certificate, ...key, "-keyout", path, "-out", `${path}.crt`]);
  await runChild(["sh", "-c", 'chmod 600 "$0" && cat "$0.crt" >> "$0"', path]);
}
