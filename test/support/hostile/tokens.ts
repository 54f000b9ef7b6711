/** What a liar puts in place of a word, or into it: paths, what separates words of QEMU's options, and options. */
export const hostileTokens: readonly string[] = [
  ...["/etc/shadow", "../../etc/shadow", "//etc", "/dev/mem", "romfile=/etc/x", "nbd:", "json:{}"],
  ...[",", ",,", "=", "{", "}", '"', ":", "\\", "%s", "\u202e"],
  ...[
    "-drive",
    "-device",
    "-chardev",
    "-object",
    "-blockdev",
    "-serial",
    "-netdev",
    "-nic",
    "-append",
    "-fw_cfg",
  ],
  ...["id=x", "server=on", "host=192.0.2.9"],
];
