import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openSealed, parseSealed, sealedMaxBytes, sealText } from "../../src/home/sealed.ts";
import { MigrateError } from "../../src/protocol/errors.ts";

/**
 * The vectors were computed with another implementation of scrypt, XChaCha20 and Poly1305 than the
 * program uses. A vector is headers, a blank line and the sealed text; what `expect` may say:
 *   success         it opens, and the secret has the SHA-256 in payload-sha256
 *   header failure  it is refused before any key derivation
 *   no match        it is well-formed, and the tag does not fit
 */
const outcomes = ["success", "header failure", "no match"] as const;
type Outcome = (typeof outcomes)[number];

const folder = join(import.meta.dir, "../vectors/sealed");
const vectors = readdirSync(folder).map((file) => {
  const text = readFileSync(join(folder, file), "utf8");
  const blank = text.indexOf("\n\n");
  const headers = new Map(
    text
      .slice(0, blank)
      .split("\n")
      .map((line): [string, string] => {
        const colon = line.indexOf(": ");
        return [line.slice(0, colon), line.slice(colon + 2)];
      }),
  );
  return { name: file.replace(".txt", ""), headers, body: text.slice(blank + 2) };
});

function codeOf(thrown: unknown): string {
  return thrown instanceof MigrateError ? thrown.code : String(thrown);
}

async function outcomeOf(body: string, passphrase: string): Promise<{ outcome: Outcome; secret?: Buffer }> {
  try {
    parseSealed(body);
  } catch (thrown) {
    expect(codeOf(thrown)).toBe("passphrase-wrong");
    return { outcome: "header failure" };
  }
  try {
    return { outcome: "success", secret: await openSealed(body, passphrase) };
  } catch (thrown) {
    expect(codeOf(thrown)).toBe("passphrase-wrong");
    return { outcome: "no match" };
  }
}

describe("the vectors of sealed texts", () => {
  test("cover every outcome and no other", () => {
    const found = new Set(vectors.map(({ headers }) => headers.get("expect") ?? "none"));
    expect([...found].sort()).toEqual([...outcomes].sort());
    expect(vectors.length).toBeGreaterThanOrEqual(40);
  });

  for (const { name, headers, body } of vectors) {
    test(`${name}: ${headers.get("comment")}`, async () => {
      const { outcome, secret } = await outcomeOf(body, headers.get("passphrase") ?? "");
      expect(outcome as string).toBe(headers.get("expect") ?? "none");
      if (secret !== undefined) {
        expect(createHash("sha256").update(secret).digest("hex")).toBe(
          headers.get("payload-sha256") ?? "none",
        );
      }
    });
  }
});

describe("a sealed text", () => {
  const cheap = { log2N: 14 };

  test("opens with its passphrase and gives the same bytes", async () => {
    const secret = Buffer.from(Array.from({ length: 300 }, (_, index) => index % 256));
    const text = await sealText(secret, "pass", cheap);
    expect(await openSealed(text, "pass")).toEqual(secret);
  });

  test("has a salt and a nonce of its own each time", async () => {
    const [one, two] = await Promise.all([
      sealText(Buffer.from("secret"), "pass", cheap),
      sealText(Buffer.from("secret"), "pass", cheap),
    ]);
    expect(parseSealed(one).salt).not.toEqual(parseSealed(two).salt);
    expect(parseSealed(one).nonce).not.toEqual(parseSealed(two).nonce);
  });

  test("is written with 2^17 where nothing else is asked for", async () => {
    const text = await sealText(Buffer.from("secret"), "pass");
    expect(parseSealed(text)).toMatchObject({ log2N: 17, r: 8, p: 1 });
  });

  test("is not made with an empty passphrase or of a secret that is too long", async () => {
    expect(await sealText(Buffer.from("secret"), "", cheap).catch(codeOf)).toBe("usage");
    expect(await sealText(Buffer.alloc(sealedMaxBytes + 1), "pass", cheap).catch(codeOf)).toBe("bug");
  });

  test("of the longest secret can be read back", async () => {
    const text = await sealText(Buffer.alloc(sealedMaxBytes, 7), "pass", cheap);
    expect((await openSealed(text, "pass")).equals(Buffer.alloc(sealedMaxBytes, 7))).toBe(true);
  });

  test("that asks for too much is refused without taking the memory", () => {
    const absurd = vectors.find(({ name }) => name === "memory-too-large");
    const before = process.memoryUsage().rss;
    expect(() => parseSealed(absurd?.body ?? "")).toThrow("more or less work");
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });

  test("cut off or with one character changed anywhere is never opened", async () => {
    const text = await sealText(Buffer.from("secret"), "pass", { log2N: 14 });
    for (let length = 0; length < text.length; length++) {
      expect(() => parseSealed(text.slice(0, length))).toThrow(MigrateError);
    }
    for (let at = 0; at < text.length; at++) {
      const changed = `${text.slice(0, at)}*${text.slice(at + 1)}`;
      expect(() => parseSealed(changed)).toThrow(MigrateError);
    }
  });
});
