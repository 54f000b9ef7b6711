/** The program's version, from package.json: what --version prints, and what HELLO and WELCOME call this side. Pure. */
import { version } from "../../package.json";

export { version };

/** `software` of HELLO and WELCOME (SPEC.md, Greeting), the same on every kind of connection. */
export const software = `migrate/${version}`;
