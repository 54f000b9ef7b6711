/** Names of VMs that a shell, a unit of systemd's or a path could take for something else. */
export const oddNames: readonly string[] = [
  "web1",
  "a b",
  'q"uote',
  "per%hcent",
  "dol$lar $HOME",
  "back\\slash",
  "at@sign",
  "ü-ñ",
  "x".repeat(128),
  "%%",
  "a\\x20b",
];
