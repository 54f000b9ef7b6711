/**
 * What the kernel can tell of a file that stays when the host boots again: which file system it is on, and the
 * file's handle there. The device number of stat(2) is none of it: the kernel gives those out anew.
 */
import { ioctlInto, nameToHandleAt, statfs } from "../libc.ts";

/** statfs(2), f_type. */
const EXT = 0xef53;
const BTRFS = 0x9123683e;
const ZFS = 0x2fc12fc1;
const XFS = 0x58465342;
const FUSE = 0x65735546;

/** linux/fs.h (kernel 6.9): struct fsuuid2, a length u8 and 16 bytes. */
const FS_IOC_GETFSUUID = 0x80111500;
/** xfs_fs.h, XFS_IOC_FSGEOMETRY_V1: struct xfs_fsop_geom_v1 of 112 bytes, the UUID at 64. */
const XFS_IOC_FSGEOMETRY_V1 = 0x80705864;
const xfsGeometryBytes = 112;
const xfsUuidAt = 64;
const uuidBytes = 16;

/** struct statfs of 64-bit Linux: f_type i64 at 0, f_fsid of 8 bytes at 56. */
const statfsBytes = 120;
const fsidAt = 56;

/** struct file_handle of name_to_handle_at(2): handle_bytes u32, handle_type i32, at most 128 bytes. */
const mostHandleBytes = 128;
const handleAt = 8;

/**
 * A file system's own id, in hex; null if it has none that survives a boot. Which of its ids is taken depends on its
 * kind alone, so that a later kernel answers the same. `fd` is open for reading. statfs(2), ioctl(2).
 */
export function fileSystemId(fd: number): string | null {
  const stat = new Uint8Array(statfsBytes);
  if (statfs(fd, stat) < 0) return null;
  switch (kindOf(stat)) {
    // These make f_fsid of their UUID (of pool and data set); with others it may be the device number.
    case EXT:
    case BTRFS:
    case ZFS:
      return hexUnlessZero(stat.subarray(fsidAt, fsidAt + 8));
    case XFS: {
      const geometry = new Uint8Array(xfsGeometryBytes);
      if (ioctlInto(fd, XFS_IOC_FSGEOMETRY_V1, geometry) < 0) return null;
      return hexUnlessZero(geometry.subarray(xfsUuidAt, xfsUuidAt + uuidBytes));
    }
    default: {
      const uuid = new Uint8Array(1 + uuidBytes);
      return ioctlInto(fd, FS_IOC_GETFSUUID, uuid) < 0 ? null : hexUnlessZero(uuid.subarray(1, 1 + uuid[0]!));
    }
  }
}

/**
 * The handle of what `fd` refers to, as "type.hex": on a file system of this host its inode's number and generation,
 * on NFS what the server calls it. Null if the file system has none that stays. name_to_handle_at(2).
 */
export function fileHandle(fd: number): string | null {
  const stat = new Uint8Array(statfsBytes);
  // FUSE counts its handles anew with each mount.
  if (statfs(fd, stat) < 0 || kindOf(stat) === FUSE) return null;
  const handle = new Uint8Array(handleAt + mostHandleBytes);
  const view = new DataView(handle.buffer);
  view.setUint32(0, mostHandleBytes, true);
  if (nameToHandleAt(fd, handle) < 0) return null;
  const bytes = handle.subarray(handleAt, handleAt + view.getUint32(0, true));
  return `${view.getInt32(4, true)}.${Buffer.from(bytes).toString("hex")}`;
}

function kindOf(stat: Uint8Array): number {
  return new DataView(stat.buffer).getUint32(0, true);
}

function hexUnlessZero(bytes: Uint8Array): string | null {
  return bytes.every((byte) => byte === 0) ? null : Buffer.from(bytes).toString("hex");
}
