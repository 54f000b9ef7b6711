/** Inputs that lie nowhere, for the tests of what is made of inputs. */
import type { Input } from "./input.ts";

export const input: Input = {
  name: "random",
  path: "/nowhere",
  kind: "disk",
  sparse: false,
  bytes: 2 ** 30,
  allocatedBytes: 2 ** 30,
  title: "random bytes",
};
export const ram: Input = { ...input, name: "ram", kind: "ram" };
export const image: Input = { ...input, name: "debian-raw", sparse: true };
export const imageOnBase: Input = {
  ...image,
  name: "debian-raw-base",
  before: { path: "/base.raw", kind: "base", title: "its base" },
};
