/**
 * What of libvirt's RPC a migration speaks: programs, procedures and features by their numbers
 * (src/remote/remote_protocol.x, src/rpc/virkeepaliveprotocol.x, src/libvirt_internal.h). The numbers are part of
 * libvirt's wire format and stay. Pure.
 *
 * A libvirtd that migrates peer to peer asks for these and nothing else: 9.0 seen on the wire; 11.3 as its
 * doRemoteOpen (src/remote/remote_driver.c) and qemuMigrationSrcPerformPeer2Peer (src/qemu/qemu_migration.c) have it.
 * CONNECT_GET_URI is asked for by a client that named no driver; a migration's URI always names one.
 */

export const remoteProgram = { program: 0x20008086, version: 1 } as const;
export const keepaliveProgram = { program: 0x6b656570, version: 1 } as const;

/** The procedures of the remote program that pass a gate. */
export const procedures = {
  CONNECT_OPEN: 1,
  CONNECT_CLOSE: 2,
  CONNECT_SUPPORTS_FEATURE: 60,
  AUTH_LIST: 66,
  DOMAIN_MIGRATE_PREPARE3_PARAMS: 303,
  DOMAIN_MIGRATE_FINISH3_PARAMS: 306,
  CONNECT_REGISTER_CLOSE_CALLBACK: 360,
  CONNECT_UNREGISTER_CLOSE_CALLBACK: 361,
} as const;

export type Procedure = keyof typeof procedures;

/** The procedures of the keepalive program; both are sent as messages with the serial 0 and no payload. */
export const keepaliveProcedures = { ping: 1, pong: 2 } as const;

/** Features that a client asks for with CONNECT_SUPPORTS_FEATURE: VIR_DRV_FEATURE_*. */
export const features = {
  MIGRATION_P2P: 4,
  MIGRATION_V3: 6,
  PROGRAM_KEEPALIVE: 10,
  MIGRATION_PARAMS: 13,
} as const;

/** The one authentication that a gate lets through: REMOTE_AUTH_NONE. */
export const authNone = 0;

const names = new Map<number, Procedure>(
  Object.entries(procedures).map(([name, number]) => [number, name as Procedure]),
);

/** Which of the procedures a number is; undefined for every other one. */
export function procedureOf(number: number): Procedure | undefined {
  return names.get(number);
}
