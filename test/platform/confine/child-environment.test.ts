/** What a process that this program starts is told of the environment. */
import { expect, test } from "bun:test";
import { childEnvironment } from "../../../src/platform/confine/child-environment.ts";

const loads = {
  ...{ LD_PRELOAD: "/x", LD_LIBRARY_PATH: "/x", LD_AUDIT: "/x", GCONV_PATH: "/x", BASH_ENV: "/x" },
  ...{ BUN_OPTIONS: "--preload=x", BUN_BE_BUN: "1", BUN_INSPECT: "1", BUN_INSPECT_PRELOAD: "x" },
  ...{ NODE_OPTIONS: "--require=x", NODE_TLS_REJECT_UNAUTHORIZED: "0", SSLKEYLOGFILE: "/x", TOKEN: "x" },
};

test("what loads code, or is nobody's business, is not handed down", () => {
  const env = {
    ...loads,
    PATH: "/p",
    HOME: "/h",
    MIGRATE_HOME: "/m",
    MIGRATE_TPM: "swtpm:/t",
    LANG: "C.UTF-8",
  };
  expect(childEnvironment({}, env)).toEqual({
    ...{ PATH: "/p", HOME: "/h", MIGRATE_HOME: "/m", MIGRATE_TPM: "swtpm:/t", LANG: "C.UTF-8" },
  });
  expect(childEnvironment({ MIGRATE_HOME: "/other" }, env).MIGRATE_HOME).toBe("/other");
  // A serve that is started for who comes by ssh proves what the host runs, by the TPM that was named to it.
  const tpm = { MIGRATE_TPM: "swtpm:/s", MIGRATE_EVENT_LOG: "/e", MIGRATE_IMA_LOG: "/i" };
  expect(childEnvironment({}, tpm)).toEqual({ PATH: "/usr/bin:/bin", ...tpm });
});

test("a process always has a path to look for programs in", () => {
  expect(childEnvironment({}, loads)).toEqual({ PATH: "/usr/bin:/bin" });
});
