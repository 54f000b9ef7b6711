/** The state of a TPM that stays behind sealed: one passphrase opens it, nothing else, and no byte may change. */
import { beforeAll, expect, test } from "bun:test";
import {
  newStateSeal,
  openState,
  type StateSeal,
  sealState,
  stateMaxBytes,
} from "../../../src/vm/tpm/sealed-state.ts";

const files = [
  { name: "tpm2-00.permall", bytes: Buffer.from([0, 1, 2, 255]) },
  { name: "tpm2-00.volatilestate", bytes: Buffer.alloc(70_000, 9) },
];
let seal: StateSeal;
let text: string;
beforeAll(async () => {
  seal = await newStateSeal("grüße");
  text = await sealState("web1", files, seal);
});

const codeOf = (sealed: string, passphrase: string): Promise<string> =>
  openState(sealed, passphrase).then(
    () => "opened",
    ({ code }: { code: string }) => code,
  );

test("what was sealed without the passphrase is opened with it", async () => {
  expect(await openState(text, "gru\u0308ße")).toEqual({ vm: "web1", files });
  expect(text.includes(Buffer.from([0, 1, 2, 255]).toString("base64"))).toBe(false);
  // Every seal has a key of its own.
  expect(await sealState("web1", files, seal)).not.toBe(text);
});

test("another passphrase, another's key and changed bytes open nothing", async () => {
  expect(await codeOf(text, "another")).toBe("passphrase-wrong");
  const other = await sealState("web1", files, await newStateSeal("grüße"));
  const cut = "-----BEGIN MIGRATE SEALED TPM STATE-----";
  const [ownKey, theirState] = [text.split(cut)[0], other.split(cut)[1]];
  expect(await codeOf(`${ownKey}${cut}${theirState}`, "grüße")).toBe("passphrase-wrong");
  const flipped = text.replace(/([A-Za-z0-9])(?=[^\n]{3}\n-----END MIGRATE SEALED TPM)/, (c) =>
    c === "A" ? "B" : "A",
  );
  expect(flipped).not.toBe(text);
  expect(await codeOf(flipped, "grüße")).toBe("passphrase-wrong");
  for (const broken of [
    "",
    text.slice(0, -2),
    `${text}x`,
    text.replace("Version: 1\nHPKE", "Version: 2\nHPKE"),
    text.replace("AES-256-GCM", "AES-128-GCM"),
  ])
    expect(await codeOf(broken, "grüße")).toBe("passphrase-wrong");
});

test("what is too long for a TPM is not sealed", async () => {
  const long = [{ name: "tpm2-00.permall", bytes: Buffer.alloc(stateMaxBytes + 1) }];
  const refusal = await sealState("web1", long, seal).catch((thrown: unknown) => thrown);
  expect(refusal).toMatchObject({
    code: "limit",
    message: expect.stringContaining("no state of a virtual TPM"),
  });
});
