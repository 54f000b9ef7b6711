import { beforeEach, describe, expect, test } from "bun:test";
import { inspect } from "node:util";
import { parseTicket, type Ticket } from "../../src/channel/ticket.ts";
import { TicketBook, ticketsMax, wrongProofsMax } from "../../src/channel/ticket-book.ts";
import { MigrateError } from "../../src/protocol/errors.ts";

const destination = `sha256:${"d0".repeat(32)}`;
const source = `sha256:${"50".repeat(32)}`;
const exporter = Buffer.alloc(32, 0xe0);
const wrongProof = Buffer.alloc(32);
const ttlMs = 900_000;

let nowMs: number;
let book: TicketBook;
beforeEach(() => {
  nowMs = 5_000;
  book = new TicketBook(destination, { monotonicMs: () => nowMs });
});

/** "ok" or the error's code; the proof is the right one unless another is given. */
function redeem(ticket: Ticket, proof: Uint8Array = ticket.prove(exporter, source)): string {
  try {
    book.redeem(ticket.id, proof, exporter, source);
    return "ok";
  } catch (thrown) {
    return thrown instanceof MigrateError ? thrown.code : String(thrown);
  }
}

describe("a ticket in the book", () => {
  test("lets in who got it as text, once, and says afterwards that it was used", () => {
    const pasted = parseTicket(book.issue(ttlMs).toText());
    expect(pasted.destinationFingerprint).toBe(destination);
    expect(redeem(pasted)).toBe("ok");
    expect(redeem(pasted)).toBe("ticket-used");
    nowMs += ttlMs * 2;
    expect(redeem(pasted)).toBe("ticket-used");
  });

  test("is one of several that do not disturb each other", () => {
    const [first, second] = [book.issue(ttlMs), book.issue(ttlMs)];
    expect(redeem(second)).toBe("ok");
    expect(redeem(first)).toBe("ok");
  });

  test("expires to the millisecond", () => {
    const [early, late] = [book.issue(ttlMs), book.issue(ttlMs)];
    nowMs += ttlMs - 1;
    expect(redeem(early)).toBe("ok");
    nowMs += 1;
    expect(redeem(late)).toBe("ticket-expired");
  });

  test("is not prolonged by a wall clock set back", () => {
    const ticket = book.issue(ttlMs);
    const realNow = Date.now;
    try {
      Date.now = () => 0;
      nowMs += ttlMs;
      expect(redeem(ticket)).toBe("ticket-expired");
    } finally {
      Date.now = realNow;
    }
  });

  test("that was never issued, or by an earlier run, is unknown", () => {
    const earlier = new TicketBook(destination, { monotonicMs: () => nowMs }).issue(ttlMs);
    expect(redeem(earlier)).toBe("ticket-invalid");
  });

  test("withstands some wrong proofs and is burned by the fifth", () => {
    const ticket = book.issue(ttlMs);
    for (let wrong = 1; wrong < wrongProofsMax; wrong++)
      expect(redeem(ticket, wrongProof)).toBe("ticket-invalid");
    expect(redeem(ticket)).toBe("ok");
    const burned = book.issue(ttlMs);
    expect(wrongProofsMax).toBe(5);
    for (let wrong = 1; wrong <= 5; wrong++) expect(redeem(burned, wrongProof)).toBe("ticket-invalid");
    expect(redeem(burned)).toBe("ticket-invalid");
  });

  test("cannot be redeemed with a proof made for another connection or another source", () => {
    const ticket = book.issue(ttlMs);
    expect(redeem(ticket, ticket.prove(Buffer.alloc(32, 1), source))).toBe("ticket-invalid");
    expect(redeem(ticket, ticket.prove(exporter, destination))).toBe("ticket-invalid");
    expect(redeem(ticket)).toBe("ok");
  });

  test("is refused, not a bug, whatever lengths a peer sends", () => {
    const ticket = book.issue(ttlMs);
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(7), Buffer.alloc(9), Buffer.alloc(100_000)]) {
      for (const [id, proof, keying] of [
        [bytes, wrongProof, exporter],
        [ticket.id, bytes, exporter],
        [ticket.id, wrongProof, bytes],
      ] as const) {
        expect(() =>
          new TicketBook(destination, { monotonicMs: () => 0 }).redeem(id, proof, keying, source),
        ).toThrow(expect.objectContaining({ code: "ticket-invalid", side: "destination" }));
      }
    }
    expect(redeem(ticket, Buffer.alloc(31))).toBe("ticket-invalid");
    expect(redeem(ticket)).toBe("ok");
  });
});

describe("the book", () => {
  test("is bounded, and forgets the oldest ticket first", () => {
    const tickets = Array.from({ length: ticketsMax + 1 }, () => book.issue(ttlMs));
    const [oldest, second] = tickets;
    if (oldest === undefined || second === undefined) throw new Error("no tickets");
    expect(redeem(oldest)).toBe("ticket-invalid");
    expect(redeem(second)).toBe("ok");
  });

  test("shows none of its secrets", () => {
    const ticket = book.issue(ttlMs);
    const shown = inspect(book, { showHidden: true, depth: 9 }) + Bun.inspect(book) + JSON.stringify(book);
    expect(shown).not.toContain(ticket.id.toString("hex"));
    expect(shown).not.toContain(ticket.toText().slice(17, 37));
  });

  test("issues nothing for no time at all", () => {
    for (const none of [0, -1, Number.NaN]) expect(() => book.issue(none)).toThrow(MigrateError);
  });
});
