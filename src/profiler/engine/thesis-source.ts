/** The source of measured transfers: one run after the other, each on connections of its own. */
import { randomBytes } from "node:crypto";
import { type CertificateWithKey, fingerprintOf, makeCertificate } from "../../channel/certificate.ts";
import type { ControlLink } from "../../channel/control-link.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { Sample, SuiteName } from "../statistics/samples.ts";
import { type Suite, suiteOf } from "../statistics/suite.ts";
import { SideAccount } from "./account/side-account.ts";
import { resultOf } from "./account/side-figures.ts";
import { connectMeasured, type MeasuredSocket } from "./records/measured-socket.ts";
import { recordKeys } from "./records/record-keys.ts";
import { RecordSealer, recordBytes } from "./records/record-layer.ts";
import { recordProtection } from "./records/record-protection.ts";
import { digestKeyBytes, StreamDigest } from "./records/stream-digest.ts";
import { openRunLink } from "./run-link.ts";
import { proveRun } from "./run-proof.ts";
import { type SendingFile, SendingLane } from "./sending-lane.ts";
import { laneMark } from "./thesis-destination.ts";

/** Where the destination measures, as it announced on an authenticated connection. */
export interface MeasuringAddress {
  host: string;
  port: number;
  plainPort: number;
  /** Fingerprint of its certificate. */
  destination: string;
  secret: Buffer;
}

export interface SourceRun {
  /** Larger than that of any run before. */
  number: number;
  suite: SuiteName;
  files: readonly SendingFile[];
  /** Reads the files, and sends made-up bytes in their place. */
  hide: boolean;
}

/** What a run returns; the profile knows the rest of a sample. */
export type RunFigures = Pick<Sample, "wireBytes" | "setup" | "source" | "destination" | "totalMs">;

/** How long a destination may take to be ready for the next run. */
const tidyMs = 10_000;

/** How long the destination is given to report why it closed the lane. */
const reportMs = 1000;

export class ThesisSource {
  /** Fingerprint of the certificate made for this profile. */
  readonly fingerprint: string;
  readonly #certificate: CertificateWithKey;
  readonly #account = new SideAccount();
  readonly #standIn = randomBytes(recordBytes);

  private constructor(certificate: CertificateWithKey) {
    this.#certificate = certificate;
    this.fingerprint = fingerprintOf(certificate.certificatePem);
  }

  static async make(): Promise<ThesisSource> {
    return new ThesisSource(await makeCertificate());
  }

  /** Nanoseconds of CPU time that a reading of the clock costs here. */
  get clockCostNs(): number {
    return this.#account.clockCostNs;
  }

  /**
   * Sends the files once. Throws MigrateError: "network" if the destination is not to be reached or
   * goes away, what it reports ("integrity" if it got other bytes), or "source-changed".
   */
  async run(address: MeasuringAddress, run: SourceRun): Promise<RunFigures> {
    this.#account.tidy();
    const suite = suiteOf(run.suite);
    const startMs = performance.now();
    const { control, link } = await this.#openControl(address, suite);
    let lane: MeasuredSocket | undefined;
    try {
      const digestKey = randomBytes(digestKeyBytes);
      link.send("run", {
        number: run.number,
        proof: proveRun(address.secret, run.number),
        suite: run.suite,
        digestKey: digestKey.toString("hex"),
        fileBytes: run.files.map(({ bytes }) => bytes),
      });
      const { body: ready } = await link.expect("runReady");
      const sealer = this.#sealer(suite, control);
      lane = await this.#connect(address, suite.lane.kind === "tls");
      const hello = Buffer.concat([Buffer.of(laneMark), Buffer.from(ready.lane, "hex")]);
      if (lane.write(hello) !== hello.length) throw new MigrateError("network", "the lane takes no bytes");
      const setupMs = performance.now() - startMs;

      this.#account.beginTransfer("rest");
      const digest = new StreamDigest(digestKey);
      const sending = new SendingLane({
        socket: lane,
        files: run.files,
        sealer,
        digest,
        meter: this.#account.meter,
        standIn: run.hide ? this.#standIn : null,
      });
      await withReportedCause(sending.run(), link);
      const bytes = run.files.reduce((sum, file) => sum + file.bytes, 0);
      link.send("runEnd", { bytes, digest: digest.finish() });
      const { body: done } = await link.expect("runDone");
      const totalMs = performance.now() - startMs;
      const source = this.#account.end();
      const destination = resultOf(done.figures);
      await ended(link);
      return {
        wireBytes: sending.wireBytes,
        setup: {
          wallMs: setupMs,
          sourceCpuMs: source.setupCpuMs,
          destinationCpuMs: destination.setupCpuMs,
        },
        source: source.figures,
        destination: destination.figures,
        totalMs,
      };
    } finally {
      lane?.destroy();
      link.finish();
    }
  }

  async #openControl(
    address: MeasuringAddress,
    suite: Suite,
  ): Promise<{ control: MeasuredSocket; link: ControlLink }> {
    const control = await this.#connect(address, suite.lane.kind !== "none");
    return { control, link: openRunLink(control, "destination") };
  }

  #connect({ host, port, plainPort, destination }: MeasuringAddress, tls: boolean): Promise<MeasuredSocket> {
    return connectMeasured({
      host,
      port: tls ? port : plainPort,
      secure: tls ? { credentials: this.#certificate, pin: destination } : null,
    });
  }

  #sealer({ name, lane }: Suite, control: MeasuredSocket): RecordSealer | undefined {
    if (lane.kind === "none" || lane.kind === "tls") return undefined;
    const context = { suite: name, direction: "source to destination", lane: 0 } as const;
    const keys = recordKeys(control.exporter(), context, lane);
    return new RecordSealer(recordProtection(lane, keys, this.#account.meter));
  }
}

/** The work on the lane; if the lane breaks, the cause that the destination reports takes precedence. */
async function withReportedCause(work: Promise<void>, link: ControlLink): Promise<void> {
  try {
    await work;
  } catch (thrown) {
    if (!(thrown instanceof MigrateError) || thrown.code !== "network") throw thrown;
    const reported = await Promise.race([
      link.receive().then(
        () => undefined,
        (error: unknown) => error,
      ),
      Bun.sleep(reportMs),
    ]);
    throw reported instanceof MigrateError && reported.code !== "network" ? reported : thrown;
  }
}

/** The destination closes the connection when it is ready for the next run. */
function ended(link: ControlLink): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, tidyMs);
    link.onClosed(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
