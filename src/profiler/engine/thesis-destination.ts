/**
 * The destination of measured transfers: two ports, one with TLS and one without, for one source alone
 * and one run after the other. It writes what it gets into a folder of ours, or discards it.
 */
import { randomBytes } from "node:crypto";
import type { TCPSocketListener } from "bun";
import { fingerprintOf, makeCertificate } from "../../channel/certificate.ts";
import type { ControlLink } from "../../channel/control-link.ts";
import { Strangers } from "../../channel/strangers.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { deadlines } from "../../protocol/limits.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import { isSuiteName, suiteOf } from "../statistics/suite.ts";
import { SideAccount } from "./account/side-account.ts";
import { figuresOf } from "./account/side-figures.ts";
import { ReceivingRun } from "./receiving-run.ts";
import { listenMeasured, type MeasuredSocket } from "./records/measured-socket.ts";
import { prepareOutput } from "./records/received-output.ts";
import { openRunLink } from "./run-link.ts";
import { isProofOf } from "./run-proof.ts";

/** First byte of a lane's connection; a control connection begins with a frame's length, and so with 0. */
export const laneMark = 0x4c;
const laneTokenBytes = 16;

export interface DestinationOptions {
  host: string;
  /** The port with TLS; the one without is the next port. 0 takes free ones. */
  port: number;
  /** The fingerprint that the source's certificate must have. */
  source: string;
  secret: Buffer;
  /** A folder of ours for what is received; null discards it. */
  folder: string | null;
  /** Sizes of the files of the largest run, which are made beforehand so that no run has to. */
  prepare?: readonly number[];
  /** Cuts the files to their right sizes after each run, for whoever wants to look at them. */
  keep?: boolean;
  /** Largest number of bytes of one run. */
  mostBytes: number;
  stallMs?: number;
}

export class ThesisDestination {
  /** Fingerprint of the certificate made for this profile. */
  readonly fingerprint: string;
  readonly port: number;
  readonly plainPort: number;
  readonly #options: DestinationOptions;
  readonly #account = new SideAccount();
  readonly #strangers = new Strangers<MeasuredSocket>(16, deadlines.helloMs, (socket) => socket.destroy());
  readonly #listeners: TCPSocketListener<MeasuredSocket>[];
  #lastNumber = 0;
  #run: ReceivingRun | undefined;

  private constructor(options: DestinationOptions, certificate: Awaited<ReturnType<typeof makeCertificate>>) {
    this.#options = options;
    this.fingerprint = fingerprintOf(certificate.certificatePem);
    const accept = (socket: MeasuredSocket) => this.#accept(socket);
    const listenOn = (port: number, secure: Parameters<typeof listenMeasured>[0]["secure"]) =>
      listenMeasured({ host: options.host, port, secure, strangers: this.#strangers, accept });
    const tls = listenOn(options.port, { credentials: certificate, pin: options.source });
    try {
      this.#listeners = [tls, listenOn(options.port === 0 ? 0 : options.port + 1, null)];
    } catch (thrown) {
      tls.stop(true);
      throw thrown;
    }
    this.port = this.#listeners[0]!.port;
    this.plainPort = this.#listeners[1]!.port;
    this.#account.tidy();
  }

  /**
   * Listens on both ports, with a certificate that lives as long as they do. Throws MigrateError "port-in-use",
   * "no-room" or "store-failed".
   */
  static async open(options: DestinationOptions): Promise<ThesisDestination> {
    if (options.folder !== null) prepareOutput(options.folder, options.prepare ?? []);
    return new ThesisDestination(options, await makeCertificate());
  }

  close(): void {
    for (const listener of this.#listeners) listener.stop(true);
    this.#run?.fail(new MigrateError("network", "the destination stops measuring", { side: "destination" }));
  }

  /** A connection: its first bytes say whether it is a lane or for control. */
  #accept(socket: MeasuredSocket): void {
    let first = Buffer.alloc(0);
    socket.handler = {
      data: (bytes) => {
        first = Buffer.concat([first, bytes]);
        if (first[0] !== laneMark) {
          this.#strangers.drop(socket);
          void this.#control(socket, first);
        } else if (first.length >= 1 + laneTokenBytes) {
          this.#strangers.drop(socket);
          this.#lane(socket, first);
        }
      },
      closed: () => this.#strangers.drop(socket),
    };
  }

  #lane(socket: MeasuredSocket, first: Buffer): void {
    const run = this.#run;
    const ours = run?.knows(first.subarray(1, 1 + laneTokenBytes)) && run.wantsTls === (socket.peer !== null);
    if (ours) run!.attach(socket, first.subarray(1 + laneTokenBytes));
    else socket.destroy();
  }

  async #control(socket: MeasuredSocket, first: Buffer): Promise<void> {
    const link = openRunLink(socket, "source", first);
    let run: ReceivingRun | undefined;
    try {
      const { body } = await link.expect("run");
      run = this.#begin(body, socket);
      this.#run = run;
      link.send("runReady", { lane: run.laneToken.toString("hex") });
      await this.#oneRun(run, link);
    } catch (thrown) {
      const error = asMigrateError(thrown);
      run?.fail(error);
      link.fail(error);
    } finally {
      if (run !== undefined && this.#run === run) this.#run = undefined;
    }
  }

  /** Checks a request and gets ready for it. Throws MigrateError if it may not be. */
  #begin(body: MessageBody<"run">, socket: MeasuredSocket): ReceivingRun {
    const { number, proof, suite: name, digestKey, fileBytes } = body;
    const refuse = (message: string) => new MigrateError("policy", message, { side: "destination" });
    if (!isProofOf(this.#options.secret, number, proof) || number <= this.#lastNumber)
      throw refuse("this run is not proven");
    if (this.#run !== undefined)
      throw new MigrateError("busy", "a run is under way", { side: "destination" });
    if (!isSuiteName(name))
      throw new MigrateError("protocol", "no suite is called that", { side: "destination" });
    const suite = suiteOf(name);
    // Only the suite that protects nothing is measured without TLS, and it never with it.
    if ((suite.lane.kind === "none") !== (socket.peer === null))
      throw refuse("this suite belongs to the other port");
    const bytes = fileBytes.reduce((sum, size) => sum + size, 0);
    if (bytes > this.#options.mostBytes)
      throw new MigrateError("limit", "a run of so many bytes was not announced");
    this.#lastNumber = number;
    return new ReceivingRun({
      suite,
      exporter: socket.peer === null ? Buffer.alloc(0) : socket.exporter(),
      digestKey: Buffer.from(digestKey, "hex"),
      fileBytes,
      folder: this.#options.folder,
      account: this.#account,
      ...(this.#options.stallMs === undefined ? {} : { stallMs: this.#options.stallMs }),
    });
  }

  async #oneRun(run: ReceivingRun, link: ControlLink): Promise<void> {
    link.onClosed((error) => run.fail(error));
    const failed = run.result.then(() => new Promise<never>(() => {}));
    const { body } = await Promise.race([link.expect("runEnd"), failed]);
    run.sourceEnded(body.bytes, body.digest);
    link.send("runDone", { figures: figuresOf(await run.result) });
    run.close(this.#options.keep === true);
    // Nothing of this run may be left for the next one: the source waits for the end of this connection.
    this.#account.tidy();
    this.#run = undefined;
    link.finish();
  }
}

/** A secret for `DestinationOptions`. */
export function newSecret(): Buffer {
  return randomBytes(32);
}
