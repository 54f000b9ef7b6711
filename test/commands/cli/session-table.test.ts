/** What a table of sessions says of proofs: a word for the last one, and nothing where nobody asked for any. */
import { expect, test } from "bun:test";
import { sessionColumns } from "../../../src/commands/cli/session-table.ts";
import type { ProofRow, SessionRow } from "../../../src/migration/operator/status.ts";

const row = (...proofs: boolean[]): SessionRow => ({
  ...{ session: "ab".repeat(16), name: "web1", side: "source", peer: "sha256:ab", address: "hostb:7600" },
  ...{ phase: "confirm", state: "confirmed", owner: "destination", mode: "move", bytes: 1, doneBytes: 1 },
  ...{ createdAtMs: 0, updatedAtMs: 0 },
  ...(proofs.length === 0 ? {} : { proofs: proofs.map((allowed) => ({ allowed }) as ProofRow) }),
});

const cells = (...rows: SessionRow[]) => {
  const column = sessionColumns(0, true, rows).find(({ title }) => title === "PROVEN");
  return column && rows.map((one) => column.cell(one));
};

test("the last proof of a session is told in a word, beside sessions of which nothing was asked", () => {
  expect(cells(row(true), row(true, false), row(false, true), row())).toEqual(["yes", "no", "yes", "-"]);
});

test("where nobody asked for proofs there is no column for them", () => {
  expect(cells(row(), row())).toBeUndefined();
});
