/** socat with OpenSSL at both ends: mutual TLS with throw-away certificates, 256 KiB buffers. */
import { basename, join } from "node:path";
import { runChild, startChild } from "../support/child.ts";
import { withDeadline } from "../support/deadline.ts";
import { peerTools } from "../support/needs.ts";
import { type Contender, endedWell } from "./contender.ts";

const bufferBytes = 256 * 1024;

export const socat: Contender = {
  name: "socat",
  title: "socat OPENSSL (256 KiB buffers)",
  needs: peerTools.filter(({ program }) => program === "socat" || program === "openssl"),
  async prepare(input, folder) {
    const arrivedPath = join(folder, basename(input.path));
    const [destinationPem, sourcePem] = [join(folder, "destination.pem"), join(folder, "source.pem")];
    await makeCertificate(destinationPem, "destination");
    await makeCertificate(sourcePem, "source");
    const trust = (own: string, other: string): string => `cert=${own},cafile=${other},verify=1`;

    // With -d -d it says on standard error where it listens.
    const port = Promise.withResolvers<number>();
    let log = "";
    const listen = `OPENSSL-LISTEN:0,bind=127.0.0.1,${trust(destinationPem, sourcePem)}`;
    const file = `OPEN:${arrivedPath},creat,trunc,wronly`;
    const destination = startChild(["socat", "-d", "-d", "-u", "-b", String(bufferBytes), listen, file], {
      onStderr(text) {
        log += text;
        const found = /listening on .*:(\d+)\n/.exec(log)?.[1];
        if (found !== undefined) port.resolve(Number(found));
      },
    });
    destination.exit.then(() => port.reject(new Error(`socat ended: ${destination.stderr()}`)));
    const number = await withDeadline(port.promise, 10_000, () => `socat to listen; it wrote: ${log}`);

    const call = `OPENSSL:127.0.0.1:${number},${trust(sourcePem, destinationPem)},openssl-commonname=destination`;
    return {
      arrivedPath,
      destination,
      start: () => startChild(["socat", "-u", "-b", String(bufferBytes), `OPEN:${input.path},rdonly`, call]),
      // Nothing acknowledges the end: only the destination's own end says that the bytes are there.
      arrived: async () => await endedWell(destination, "socat at the destination"),
      finish: async () => {},
    };
  },
};

/** Key and certificate in one file, as socat's `cert` takes it. */
async function makeCertificate(path: string, commonName: string): Promise<void> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
  const certificate = ["-x509", "-days", "2", "-subj", `/CN=${commonName}`];
  await runChild(["openssl", "req", ...certificate, ...key, "-keyout", path, "-out", `${path}.crt`]);
  await runChild(["sh", "-c", 'chmod 600 "$0" && cat "$0.crt" >> "$0"', path]);
}
