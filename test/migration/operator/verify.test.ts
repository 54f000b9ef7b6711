/** What `migrate verify` says of a VM's folder that it cannot compare with anything. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { verifyVm } from "../../../src/migration/operator/verify.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-verify-", (made) => {
  folder = made;
});

function write(more: object): void {
  const manifest = {
    format: "migrate-vm/1",
    name: "web1",
    files: [{ kind: "disk", file: "a.img" }],
    ...more,
  };
  writeFileSync(join(folder, "vm.json"), JSON.stringify(manifest));
  writeFileSync(join(folder, "a.img"), "x");
}

test("of a VM that arrived while it ran it says why there are no digests, and how it gets some", async () => {
  const ownership = {
    state: "owner",
    session: "0".repeat(32),
    from: "sha256:ab",
    since: "2026-01-01T00:00:00.000Z",
  };
  write({ ownership });
  await expect(verifyVm(folder, () => {})).rejects.toMatchObject({
    code: "vm-invalid",
    message:
      "web1 arrived while it ran, and its disks have changed since: there is nothing to compare them with",
    hint: expect.stringContaining("once it is moved or copied while it is switched off"),
  });
});

test("of a folder that somebody wrote by hand it says that it carries no digests", async () => {
  write({});
  await expect(verifyVm(folder, () => {})).rejects.toMatchObject({
    code: "vm-invalid",
    message: `${folder}/vm.json carries no digests`,
  });
});
