/** The closing words on samples whose truth is known. */
import { describe, expect, test } from "bun:test";
import { profileAdvice } from "../../../src/profiler/report/advice.ts";
import {
  type SyntheticOptions,
  syntheticCosts,
  syntheticSamples,
} from "../../support/files/synthetic-samples.ts";

const small: SyntheticOptions = { ramMiB: [128, 1024], diskMiB: [0, 512] };
const said = (options: SyntheticOptions = {}) =>
  profileAdvice(syntheticSamples({ ...small, ...options })).join("\n");

/** tls with so much cryptography that it costs about `times` what insecure costs. */
const dear = (encrypt: number) => ({
  tls: {
    ...syntheticCosts.tls,
    source: { ...syntheticCosts.tls.source, encrypt },
    destination: { ...syntheticCosts.tls.destination, decrypt: encrypt },
  },
});
const network = { environment: { link: "192.0.2.7:7600" } };

describe("the advice", () => {
  test("tells the cost of tls at the largest RAM size without disk, on both sides, with intervals", () => {
    const text = said({ noise: 0 });
    expect(text).toContain("moving 1024 MiB of RAM without disk with tls");
    // 670 ms against 480, and 820 against 630.
    expect(text).toContain(
      "1.40 times the CPU of insecure on the source (95 % interval 1.40 to 1.40; +0.190 s)",
    );
    expect(text).toContain(
      "1.30 times the CPU of insecure on the destination (95 % interval 1.30 to 1.30; +0.190 s)",
    );
    // 8 bits of 2^30 bytes in 0.82 s, and in 0.63 s.
    expect(text).toContain("10.5 Gbit/s with tls and 13.6 Gbit/s without");
  });

  test("is to choose tls because it is cheap, where it is", () => {
    expect(said(network)).toContain("security is cheap here");
    expect(said()).toContain("security is cheap here");
  });

  test("is to choose tls because nobody waits longer, where it costs CPU alone", () => {
    expect(said({ ...network, costs: dear(900) })).toContain("on this link nobody waits longer for it");
    expect(said({ costs: dear(900) })).toContain("on a link slower than that nobody waits longer for it");
  });

  test("is to choose tls all the same where it costs time, and names the price of either choice", () => {
    const text = said({ ...network, linkBytesPerSec: 5e9, costs: dear(900) });
    expect(text).toContain("Choose tls all the same");
    expect(text).toMatch(/insecure would save 0\.\d+ s/);
    expect(text).toContain("gives up secrecy, integrity");
  });

  test("says that there is no significant difference where there is none", () => {
    expect(said(network)).toMatch(
      /It takes 9\.\d+ s in all where insecure takes 9\.\d+ s: no significant difference\./,
    );
    const same = { tls: { ...syntheticCosts.insecure } };
    expect(said({ costs: same }).match(/, no significant difference/g)?.length).toBe(2);
  });

  test("does not speak for the thesis's ciphers, nor take the portable engine for a native one", () => {
    expect(said()).toMatch(
      /\(times insecure on the source: aes-128 5\.\d+, rc4 7\.\d+ and 3des 8\d\.\d\) protect less than tls/,
    );
    const modern = said({ suites: ["insecure", "tls", "chacha20-poly1305"] });
    expect(modern).toContain("portable engine");
    expect(modern).not.toContain("thesis's ciphers");
  });

  test("says what it does not know: few runs, no link, a profile cut short", () => {
    const text = said({ runs: 3, partial: true });
    expect(text).toContain("too few runs for an interval");
    expect(text).toContain("these are hints");
    expect(text).toContain("without a link between them");
    expect(text).toContain("cut short");
    expect(said(network)).not.toContain("without a link");
  });

  test("without tls or insecure says that nothing can be said", () => {
    for (const suites of [["insecure", "rc4"], ["tls"]] as const)
      expect(said({ suites })).toStartWith("What security costs on these hosts cannot be said");
  });

  test("speaks of the largest size that has both, and of the product's engine where there is no other", () => {
    const samples = syntheticSamples(small);
    samples.samples = samples.samples.filter(({ suite, ramBytes }) => suite !== "tls" || ramBytes < 2 ** 30);
    expect(profileAdvice(samples)[0]).toContain("moving 128 MiB of RAM without disk");
    expect(said({ engine: "full", diskMiB: [512] })).toContain(
      "with a disk of 512 MiB (the product's own engine)",
    );
  });
});
