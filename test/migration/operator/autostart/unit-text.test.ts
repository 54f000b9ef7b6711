/** The unit that starts a VM, whatever the VM, its folder and this program are called; systemd judges it in test/live/lives/. */
import { expect, test } from "bun:test";
import { unitName, unitText } from "../../../../src/migration/operator/autostart/unit-text.ts";
import { oddNames } from "../../../support/files/odd-names.ts";

test("no two VMs have one unit, and a unit's name is one that systemd knows", () => {
  const units = [...oddNames, "a%b", `${"ü".repeat(64)}`, `${"ü".repeat(63)}u`, "a-b", "a_b"].map(unitName);
  expect(new Set(units).size).toBe(units.length);
  // UNIT_NAME_MAX, VALID_CHARS of systemd's unit-name.c.
  for (const unit of units) expect(unit).toMatch(/^migrate-vm-[A-Za-z0-9:_.\\-]{1,217}\.service$/);
  expect(unitName("web1")).toBe("migrate-vm-web1.service");
  expect(unitName("a b@")).toBe("migrate-vm-a\\x20b\\x40.service");
});

test("a program that a unit cannot start is refused", () => {
  const wishes = { name: "a", folder: "/a", home: "/h", scope: "system" as const };
  for (const program of ["migrate", "/opt/$x/migrate", "/a\nb", '/a"b', "/a\\b"])
    expect(() => unitText({ ...wishes, self: [program] })).toThrow("a unit cannot start");
});

test("no part of a name is a quote, a variable or a specifier of systemd's", () => {
  const name = 'a $x %h "q" \\x';
  const text = unitText({
    name,
    folder: `/s/${name}`,
    home: `/h/${name}`,
    self: ["/b %i/migrate"],
    scope: "system",
  });
  const lines = text.split("\n");
  // systemd.service(5), COMMAND LINES: "%" and "$" are doubled, the rest is C's.
  expect(lines).toContain('ExecStart="/b %%i/migrate" "start" "/s/a $$x %%h \\"q\\" \\\\x"');
  expect(lines).toContain('Environment="MIGRATE_HOME=/h/a $x %%h \\"q\\" \\\\x"');
  expect(lines).toContain('RequiresMountsFor="/s/a $x %%h \\"q\\" \\\\x" "/h/a $x %%h \\"q\\" \\\\x"');
  expect(lines).toContain('Description=Virtual machine a $x %%h "q" /x (migrate)');
});
