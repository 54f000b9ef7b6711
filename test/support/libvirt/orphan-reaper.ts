/**
 * Somebody who waits at once for what a daemon leaves behind. Libvirtd goes on only once a QEMU that has ended is waited
 * for as well, by whoever inherits it (kill(2): a zombie can be signalled); there are machines whose first process takes
 * two seconds for that. And its CPU time is then in that of a process that can be looked at.
 */

/**
 * Starts a command in a process that inherits all its orphans (prctl(2), PR_SET_CHILD_SUBREAPER) and lives as long as
 * one of them. Ends as the command does, which becomes a daemon.
 */
const reaperScript = `
use POSIX ();
pipe(my $out, my $in);
if (fork) {
  close $in;
  exit(ord(<$out> // "\\x7f"));
}
close $out;
POSIX::setsid();
syscall(157, 36, 1, 0, 0, 0);
my $first = fork;
if (!$first) { exec @ARGV; POSIX::_exit(127); }
waitpid($first, 0);
syswrite($in, chr($? & 127 ? 1 : $? >> 8));
close $in;
open(STDOUT, ">", "/dev/null");
open(STDERR, ">", "/dev/null");
1 while wait > 0;
`;

/** The command (perlfunc(1); x86-64) that starts another one, of which the words follow, in that way. */
export const underReaper: readonly string[] = ["perl", "-e", reaperScript];
