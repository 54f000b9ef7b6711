/** The cookie of a migration passes with what mirrored disks need, and with nothing else. */
import { describe, expect, test } from "bun:test";
import { type CookieStep, rebuildCookie } from "../../../../src/vm/libvirt/rpc/cookie.ts";
import { cookieBytes, cookieXml, cookieXmls, domain } from "../../../support/libvirt/hostile/rpc-talk.ts";

const rebuilt = (xml: string, step: CookieStep, disks: readonly string[] = domain.disks): string => {
  const bytes = rebuildCookie(cookieBytes(xml), step, { ...domain, disks });
  expect(bytes.at(-1)).toBe(0);
  return Buffer.from(bytes.subarray(0, -1)).toString();
};
const code = (xml: string, step: CookieStep = "prepare"): string => {
  try {
    rebuilt(xml, step);
  } catch (thrown) {
    return (thrown as { code: string }).code;
  }
  return "passed";
};
const nbd = "<nbd><disk target='vda' capacity='1'/></nbd>";

describe("what libvirt 9.0 sent passes as it was", () => {
  for (const step of ["prepared", "finish", "finished"] as const) {
    test(step, () => expect(rebuilt(cookieXmls[step], step)).toBe(cookieXmls[step]));
  }

  test("prepare, but for the feature lockstate, which goes with what is left out", () => {
    expect(rebuilt(cookieXmls.prepare, "prepare")).toBe(
      cookieXmls.prepare.replace("  <feature name='lockstate'/>\n", ""),
    );
  });
});

describe("left out", () => {
  const elsewhere = {
    "a definition": "<domain type='kvm'><name>web1</name></domain>",
    graphics: "<graphics type='spice' port='5900' listen='203.0.113.1' tlsPort='-1'/>",
    leases: "<lockstate driver='sanlock'><leases>x</leases></lockstate>",
    "a switch's port":
      "<network><interface index='0' vporttype='openvswitch'><portdata>x</portdata></interface></network>",
    "dirty bitmaps":
      "<blockDirtyBitmaps><disk target='vda'><bitmap name='a' alias='b'/></disk></blockDirtyBitmaps>",
    "what nobody knows": "<future><deep/></future>",
  };
  for (const step of ["prepare", "prepared", "finish", "finished"] as const) {
    for (const [what, inner] of Object.entries(elsewhere)) {
      test(`${what} with ${step}`, () => {
        const plain = rebuilt(cookieXmls[step], step);
        expect(rebuilt(cookieXmls[step].replace("</qemu-", `${inner}</qemu-`), step)).toBe(plain);
      });
    }
  }

  test("what belongs to another step", () => {
    const both = cookieXmls.prepare.replace(
      "</qemu-",
      "<statistics><started>1</started></statistics></qemu-",
    );
    expect(rebuilt(both, "prepare")).not.toContain("statistics");
    expect(rebuilt(both, "finished")).not.toContain("cpu");
  });

  test("disks that are not mirrored, and NBD where none is", () => {
    expect(rebuilt(cookieXmls.prepare, "prepare", ["vdb"])).not.toContain("vda");
    expect(rebuilt(cookieXmls.prepare, "prepare", ["vdb"])).toContain(
      "<disk target='vdb' capacity='67108864'/>",
    );
    expect(rebuilt(cookieXmls.prepare, "prepare", [])).not.toContain("nbd");
  });

  test("counts that are not known", () => {
    const inner = "<statistics><started>1</started><secret>2</secret></statistics>";
    expect(rebuilt(cookieXml(inner), "finished")).toContain(
      "<statistics>\n    <started>1</started>\n  </statistics>",
    );
  });

  test("attributes and elements of the processor that are not known", () => {
    const cpu = "<cpu mode='custom' odd='1'><model odd='1'>qemu64</model><numa><cell id='0'/></numa></cpu>";
    const written = rebuilt(cookieXml(`${nbd}${cpu}`), "prepare");
    expect(written).toContain("<cpu mode='custom'>\n    <model>qemu64</model>\n  </cpu>");
  });
});

test("FINISH tells libvirt of NBD even if the source does not: it would leave its server open", () => {
  expect(rebuilt(cookieXml(""), "finish")).toContain("<nbd/>");
  expect(rebuilt(cookieXml(""), "finish", [])).not.toContain("nbd");
});

test("capabilities are there even if the source leaves them out: libvirt does not look", () => {
  expect(rebuilt(cookieXml(nbd), "prepare")).toContain("<capabilities/>");
});

test("features that only say what both must know are kept", () => {
  const inner = `<feature name='cpu-hotplug'/>${nbd}`;
  expect(rebuilt(cookieXml(inner), "prepare")).toContain("<feature name='cpu-hotplug'/>");
});

describe("refused", () => {
  const wrong: Record<string, [string, string]> = {
    "another name": [cookieXml(nbd, { name: "web2" }), "policy"],
    "another UUID": [cookieXml(nbd, { uuid: "5a6b7c8d-1111-4222-8333-000000000000" }), "policy"],
    "a feature that is not known": [cookieXml(`<feature name='teleport'/>${nbd}`), "policy"],
    "no word about disks": [cookieXml(""), "protocol"],
    "a disk twice": [cookieXml(nbd.replace("</nbd>", "<disk target='vda' capacity='2'/></nbd>")), "protocol"],
    "a disk without capacity": [cookieXml("<nbd><disk target='vda'/></nbd>"), "protocol"],
    "a capacity that is no number": [cookieXml("<nbd><disk target='vda' capacity='1e3'/></nbd>"), "protocol"],
    "a capacity beyond 63 bits": [
      cookieXml("<nbd><disk target='vda' capacity='9223372036854775808'/></nbd>"),
      "protocol",
    ],
    "a port that is none": [cookieXml("<nbd port='65536'/>"), "protocol"],
    "a processor with an option of QEMU's": [
      cookieXml(`${nbd}<cpu mode='custom'><model>qemu64,+x</model></cpu>`),
      "protocol",
    ],
    "a feature of a processor with one": [
      cookieXml(`${nbd}<cpu mode='custom'><feature policy='require' name='a=b'/></cpu>`),
      "protocol",
    ],
    "a mode of a processor that is none": [cookieXml(`${nbd}<cpu mode='any'/>`), "protocol"],
    "a topology that is no number": [cookieXml(`${nbd}<cpu><topology sockets='x'/></cpu>`), "protocol"],
    "a thousand features too many": [
      cookieXml(`${nbd}<cpu mode='custom'>${"<feature policy='require' name='a'/>".repeat(2000)}</cpu>`),
      "protocol",
    ],
    "a capability with a strange name": [
      cookieXml(`${nbd}<capabilities><cap name='a b'/></capabilities>`),
      "protocol",
    ],
    "a host without a name": [cookieXmls.prepare.replace("hosta", ""), "protocol"],
    "a host with a strange name": [cookieXmls.prepare.replace("hosta", "a b"), "protocol"],
    "a host with no UUID": [cookieXmls.prepare.replace("ad0d7519", "x"), "protocol"],
    "another root": ["<domain/>", "protocol"],
    "no XML": ["hello", "protocol"],
    entities: [`<!DOCTYPE x [<!ENTITY a 'b'>]>${cookieXmls.prepare}`, "protocol"],
    "ten thousand levels": ["<a>".repeat(10_000), "protocol"],
    "another NUL": [`${cookieXmls.prepare}\0<qemu-migration/>`, "protocol"],
  };
  for (const [what, [xml, expected]] of Object.entries(wrong))
    test(what, () => expect(code(xml)).toBe(expected));

  test("a count that is no number", () => {
    expect(code(cookieXml("<statistics><started>-1</started></statistics>"), "finished")).toBe("protocol");
    expect(code(cookieXml("<statistics><delta>-1</delta></statistics>"), "finished")).toBe("passed");
  });

  test("what is empty, or does not end with NUL, or is no text", () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from(cookieXmls.prepare), Buffer.from([0xff, 0])])
      expect(() => rebuildCookie(bytes, "prepare", domain)).toThrow(
        expect.objectContaining({ code: "protocol" }),
      );
  });
});
