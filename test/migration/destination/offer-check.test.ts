import { expect, test } from "bun:test";
import { checkNameLengths } from "../../../src/migration/destination/offer-check.ts";
import type { Offer } from "../../../src/protocol/offer.ts";
import { refusalOf } from "../../support/system/refusals.ts";
import { emptyOffer } from "./played-destination.ts";

test("a name that the store's file system does not take is refused, of the VM as of its files", () => {
  const offer = (changes: object) => ({ ...emptyOffer, ...changes }) as Offer;
  const file = { ...emptyOffer.files[0]!, name: "ä".repeat(72) };
  checkNameLengths(offer({ files: [file] }), 144);
  for (const long of [
    offer({ files: [file] }),
    offer({ name: "v".repeat(144) }),
    offer({ machine: { disks: [file] } }),
  ]) {
    expect(refusalOf(() => checkNameLengths(long, 143), "name-invalid").message).toContain(
      "which takes 143 bytes",
    );
  }
});
