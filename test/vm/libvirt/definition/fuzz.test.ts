/** Domains that chance has damaged: nothing but a refusal comes of them, and what is accepted is a fixed point. */
import { expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { landedXml } from "../../../../src/vm/libvirt/definition/landed-domain.ts";
import {
  offeredName,
  offeredXml,
  readOffered,
} from "../../../../src/vm/libvirt/definition/offered-domain.ts";
import { readDomain } from "../../../../src/vm/libvirt/definition/read-domain.ts";
import { wholeDomain, wholeDomains } from "../../../support/libvirt/domain-xml.ts";
import { type SeededRandom, seeded } from "../../../support/system/random.ts";

/** What the guest or a person reads, and no program opens. */
const freeText = /<(metadata|description|title|cmdline|entry)\b[\s\S]*?<\/\1>/g;

const nasty = [
  ..."<>&'\"/= ",
  ..."\0\n\u202e\u{1f600}",
  "\ud800",
  "../",
  "/etc/shadow",
  "-1",
  "9".repeat(30),
  "&#0;",
  "&#x202e;",
  "&amp;",
  "]]>",
  "<![CDATA[",
  "<!--",
  "<!DOCTYPE a>",
  "<?a?>",
  " xmlns='u'",
  " xmlns:q='u'",
  "<q:a/>",
  "<hostdev/>",
  "<__proto__/>",
  " constructor='1'",
  " file='/etc/shadow'",
  "toString",
];

function damaged(xml: string, chance: SeededRandom): string {
  const tokens = xml.split(/(?=[<'>])/);
  for (let times = 1 + chance.below(3); times > 0; times--) {
    const at = chance.below(tokens.length);
    const other = tokens[chance.below(tokens.length)]!;
    switch (chance.below(8)) {
      case 0:
        tokens.splice(at, 1);
        break;
      case 1:
        tokens.splice(at, 0, other);
        break;
      case 2:
        tokens[at] = other;
        break;
      case 3: {
        const token = tokens[at]!;
        const within = chance.below(token.length + 1);
        tokens[at] = token.slice(0, within) + chance.pick(nasty) + token.slice(within);
        break;
      }
      case 4:
        // A line twice, or moved: whole elements, which are often accepted.
        return movedLine(tokens.join(""), chance);
      case 5:
      case 6:
        tokens[at] = tokens[at]!.replace(/\d/g, () => `${chance.below(10)}`);
        break;
      default:
        return tokens
          .join("")
          .replace(/'[^']*'/g, (value) => (chance.chance(0.01) ? `'${chance.pick(nasty)}'` : value));
    }
  }
  return tokens.join("");
}

function movedLine(xml: string, chance: SeededRandom): string {
  const lines = xml.split("\n");
  const [line = ""] = lines.splice(chance.below(lines.length), chance.below(2));
  lines.splice(chance.below(lines.length), 0, line === "" ? chance.pick(lines) : line);
  return lines.join("\n");
}

test("5,000 damaged domains", () => {
  const chance = seeded("damaged domains");
  let accepted = 0;
  for (let round = 0; round < 5_000; round++) {
    const xml = damaged(wholeDomain(chance.pick(wholeDomains)), chance);
    const { domain, refusals } = readDomain(xml);
    for (const refusal of refusals) expect(refusal.code, `round ${round}: ${refusal.message}`).toBe("policy");
    expect(domain === null, `round ${round}`).toBe(refusals.length > 0);
    if (domain === null) continue;
    accepted += 1;
    const offered = offeredXml(domain, (place) => (place.kind === "disk" ? place.target : place.kind));
    const there = readOffered(offered);
    const landed = landedXml(there, { path: (place) => `/v/${place.kind}`, card: () => ({ kind: "none" }) });
    expect(landed.replace(freeText, ""), `round ${round}`).not.toMatch(/shadow/);
  }
  // Both are tried: what is refused, and what is not.
  expect(accepted).toBeGreaterThan(500);
  expect(accepted).toBeLessThan(4_500);
}, 120_000);

test("2,000 damaged offers: a refusal, or the very text that was offered", () => {
  const chance = seeded("damaged offers");
  const offers = wholeDomains.map((name) =>
    offeredXml(readDomain(wholeDomain(name)).domain!, (place) =>
      place.kind === "disk" ? place.target : place.kind,
    ),
  );
  for (let round = 0; round < 2_000; round++) {
    const xml = damaged(chance.pick(offers), chance);
    try {
      const there = readOffered(xml);
      expect(
        offeredXml(there, (place) => offeredName(there, place)!),
        `round ${round}`,
      ).toBe(xml);
    } catch (error) {
      if (!(error instanceof MigrateError)) throw new Error(`round ${round}: ${error}`);
      expect(error.code).toBe("policy");
    }
  }
}, 120_000);
