/** A domain that arrives as files: it is known to this host's libvirt from the moment on that this host owns it. */
import { join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import { requireReplaceable } from "../../../vm/libvirt/save-image.ts";
import { careFor } from "../after-care.ts";
import type { Arrival, ArrivalOptions, Offered } from "../arrival.ts";
import { type LibvirtPolicy, presentOf, readBoth, toldCards, xmlIn } from "./arriving-xml.ts";
import { landDomain, timeOfLanded } from "./landing.ts";
import { configOf, forPeer, type LibvirtConfig } from "./landing-host.ts";
import type { Landing } from "./landing-place.ts";
import type { ArrivingLibvirtRecord } from "./libvirt-records.ts";

export interface ArrivingDomainOptions extends ArrivalOptions {
  offered: Offered;
  domain: ArrivingLibvirtRecord;
  policy: LibvirtPolicy | undefined;
}

export class ArrivingDomain implements Arrival {
  readonly isLive = false;
  readonly hasStreams = false;
  readonly streamed = [];
  readonly streams = undefined;
  readonly patienceMs = null;
  readonly #options: ArrivingDomainOptions;

  constructor(options: ArrivingDomainOptions) {
    this.#options = options;
  }

  get cards(): Arrival["cards"] {
    return toldCards(this.#options.domain, this.#config.netMap);
  }

  async start(): Promise<MessageBody<"started">> {
    throw new MigrateError("bug", "a domain of files alone has nothing to start");
  }

  async seal({ streams = [] }: Pick<MessageBody<"seal">, "streams">): Promise<void> {
    if (streams.length > 0)
      throw new MigrateError("protocol", "the seal names streams, and the VM does not run");
    const { offered, domain, staging } = this.#options;
    const memory = offered.files.findIndex(({ kind }) => kind === "ram");
    if (memory < 0) return;
    const { folder } = this.#landing;
    const xml = xmlIn(folder, presentOf(readBoth(domain)), this.#config.netMap, { fromStream: true });
    // While the source has the VM still.
    requireReplaceable(staging.paths[memory]!, Buffer.byteLength(xml));
  }

  async checkReady(): Promise<void> {}

  relink(): void {}

  async resume(): Promise<void> {
    try {
      await landDomain(this.#landing, this.#config);
    } catch (thrown) {
      throw forPeer(thrown, "the destination's libvirt could not take the VM over");
    }
    // The source does not wait for what a guest's agent says.
    careFor(this.#setTime());
  }

  async #setTime(): Promise<void> {
    const message = await timeOfLanded(this.#landing, this.#config);
    if (message !== null) this.#options.notice?.(message);
  }

  async end(): Promise<void> {}

  leave(): void {}

  get #config(): LibvirtConfig {
    const { policy, home } = this.#options;
    return policy ?? configOf(home);
  }

  get #landing(): Landing {
    const { offered, domain, staging } = this.#options;
    const { store } = staging;
    return { name: offered.name, folder: join(store, offered.name), domain, store, session: offered.session };
  }
}
