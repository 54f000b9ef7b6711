/** What this program calls itself on the wire and in --version; set when it is built. */
declare const MIGRATE_VERSION: string | undefined;
declare const MIGRATE_COMMIT: string | undefined;

export const version = typeof MIGRATE_VERSION === "string" ? MIGRATE_VERSION : "0.1.0";
export const commit = typeof MIGRATE_COMMIT === "string" ? MIGRATE_COMMIT : "source";
export const software = `migrate/${version}`;
