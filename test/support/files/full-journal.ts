/**
 * A program of its own, since SQLite follows /proc/PID/root and then does not find a disk in another mount
 * namespace: begins sessions in a journal on the disk at argv[2], fills the disk, and goes on. Prints what came of
 * it as JSON.
 */
import { join } from "node:path";
import { openHome } from "../../../src/home/home.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { recordOfOffer } from "../../../src/migration/journal/offer-record.ts";
import { emptyOffer } from "../../migration/destination/played-destination.ts";
import { emptyDisk, fillDisk } from "./ballast.ts";

const disk = process.argv[2]!;
const journal = Journal.open(openHome(join(disk, "home")));
const idOf = (number: number) => number.toString(16).padStart(32, "0");
const origin = { peer: "p", address: "a", attempt: 1, store: "/store", nowMs: 1, bytes: 0, kept: null };
const begin = (number: number) =>
  journal.write("receiving", () => journal.insert(recordOfOffer(idOf(number), emptyOffer, origin)));

const first = 16;
for (let number = 0; number < first; number++) begin(number);
fillDisk(disk);
let refusal = "";
try {
  for (let number = first; number < 20 * first; number++) begin(number);
} catch (thrown) {
  refusal = (thrown as Error).message;
}
const steps = ["receiving", "ready", "owner", "closed"] as const;
for (const { session } of journal.open("destination")) {
  for (const [i, to] of steps.slice(1).entries()) {
    journal.write(to, () => journal.step(session, { side: "destination", from: steps[i]!, to }));
  }
}
const states = journal.all("destination").map(({ state }) => state);
emptyDisk(disk);
begin(1000);
console.log(JSON.stringify({ refusal, states, begunAgain: journal.find(idOf(1000))?.state }));
journal.close();
