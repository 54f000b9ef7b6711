/** A domain as virsh tells of it, in two answers. */
import { expect, test } from "bun:test";
import { findDomain } from "../../../src/vm/libvirt/domains.ts";
import { Virsh } from "../../../src/vm/libvirt/virsh.ts";

const uuid = "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f";
const info = (state: string, saved: string) =>
  `Id:             -\nName:           web1\nUUID:           ${uuid}\nState:          ${state}\nPersistent:     yes\nAutostart:      disable\nManaged save:   ${saved}\n\n`;

/** Says these answers one after another, the last one for ever. */
class ToldVirsh extends Virsh {
  readonly #told: { dominfo: string[]; domstate: string[] };

  constructor(told: { dominfo: string[]; domstate: string[] }) {
    super("qemu:///system", "source");
    this.#told = told;
  }

  override find([command]: readonly string[]): Promise<string | null> {
    const answers = this.#told[command as "dominfo" | "domstate"];
    return Promise.resolve(answers.length > 1 ? answers.shift()! : answers[0]!);
  }
}

test("a domain whose saving ends between the two answers is asked about again", async () => {
  const virsh = new ToldVirsh({
    dominfo: [info("paused", "no"), info("shut off", "yes")],
    domstate: ["shut off (saved)\n\n"],
  });
  expect(await findDomain(virsh, "web1")).toEqual({
    ...{ name: "web1", uuid, state: "off", reason: "saved" },
    ...{ isPersistent: true, autostart: false, isSaved: true },
  });
});

test("one that never tells of one state is told of all the same", async () => {
  const virsh = new ToldVirsh({ dominfo: [info("in shutdown", "no")], domstate: ["running (booted)\n"] });
  expect(await findDomain(virsh, "web1")).toMatchObject({ state: "running", isSaved: false });
});
