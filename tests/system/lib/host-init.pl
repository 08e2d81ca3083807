# SPDX-License-Identifier: GPL-2.0-or-later
#
# host-init: process 1 of a simulated host.
#
# Theory of operation.  The lab starts this in fresh mount, UTS, IPC and PID
# namespaces, inside the host's network namespace.  It gives the host its own
# /run, /etc/libvirt, /etc/lockstep, /var/{lib,log}/... as private binds, its
# own name, /proc and /sys, a way for QEMU's user to what the lab has built,
# and no KVM; then it starts what the lab asks for and reaps.  When it dies, the kernel kills every process of the host at
# once, however it was started; that is how the lab pulls a host's plug, and
# why nothing is left behind when the lab itself is killed.
#
# stdin: one command a line, fields separated by \x1f: NAME LOG ENV... -- ARGV...
# stdout: "ready OUTER-PID", "started NAME PID", "ended NAME STATUS",
# "crashed PID SIGNAL" for any process of the host that it reaps.

use strict;
use warnings;
use Errno qw(EINTR);
use POSIX qw(:sys_wait_h);
$| = 1;

my ($name, $private, $reach) = @ARGV;

# /proc is still that of the outside here.
open my $stat, '<', '/proc/self/stat' or die "proc: $!";
my ($outer) = split / /, <$stat>;
close $stat;

sub sh {
    system(@_) == 0 or die "$name: '@_' failed\n";
    return;
}

sub put {
    my ($path, $text) = @_;
    open my $fh, '>', $path or die "$path: $!\n";
    print $fh $text;
    close $fh;
    return;
}

# Make DIR a folder of links to what it held, in which the entries named are
# the host's own; so no mount point is ever made in the real DIR.
sub own_entries {
    my ($dir, @entries) = @_;
    my $orig = "/run/outside$dir";
    my %own = map { $_ => 1 } @entries;
    sh('mkdir', '-p', $orig);
    sh('mount', '--rbind', $dir, $orig);
    sh('mount', '-t', 'tmpfs', '-o', 'mode=755', 'lab', $dir);
    opendir my $d, $orig or die "$orig: $!\n";
    for my $e (readdir $d) {
        next if $e eq '.' || $e eq '..' || $own{$e};
        symlink "$orig/$e", "$dir/$e" or die "$dir/$e: $!\n";
    }
    for my $e (@entries) {
        my $from = "$private$dir/$e";
        if (-d $from) {
            mkdir "$dir/$e" or die "$dir/$e: $!\n";
        } else {
            put("$dir/$e", '');
        }
        sh('mount', '--bind', $from, "$dir/$e");
    }
    return;
}

# Emulator and images lie below TREE, on real hosts in /usr/local and on a
# mounted storage: whoever may not pass a folder above it (root's home, say)
# may pass one of ours in its place.
sub open_the_way {
    my ($tree) = @_;
    my $closed = '';
    for my $part ($tree =~ m{[^/]+}g) {
        $closed .= "/$part";
        last if !((stat $closed)[2] & 1);
    }
    return if $closed eq $tree;
    sh('mkdir', '-p', '/run/outside/tree');
    sh('mount', '--rbind', $tree, '/run/outside/tree');
    sh('mount', '-t', 'tmpfs', '-o', 'mode=755', 'lab', $closed);
    sh('mkdir', '-p', $tree);
    sh('mount', '--rbind', '/run/outside/tree', $tree);
    return;
}

sh('mount', '--make-rprivate', '/');
sh('hostname', $name);
sh('mount', '-t', 'tmpfs', '-o', 'mode=755', 'lab', '/run');
mkdir "/run/$_", 0755 for qw(libvirt lockstep lock);
open_the_way($reach);
# Links first: what follows hides nothing that a link still needs.
own_entries('/etc', qw(libvirt lockstep hosts hostname passwd group));
own_entries('/var/lib', qw(libvirt lockstep));
own_entries('/var/log', qw(libvirt lockstep));
own_entries('/var/cache', qw(libvirt));
sh('mount', '-t', 'proc', 'proc', '/proc');
sh('mount', '-t', 'sysfs', 'sysfs', '/sys');
if (-e '/dev/kvm') {
    put('/run/no-kvm', '');
    # Read-only: libvirt asks access(2) whether KVM is there, and would
    # probe the emulator again at every look-up.
    sh('mount', '--bind', '/run/no-kvm', '/dev/kvm');
    sh('mount', '-o', 'remount,bind,ro', '/dev/kvm');
}
if (!-e '/dev/net/tun') {
    # Another host may do the same at this moment.
    mkdir '/dev/net';
    system('mknod', '/dev/net/tun', 'c', '10', '200');
    -e '/dev/net/tun' or die "$name: no /dev/net/tun\n";
}
sh('ip', 'link', 'set', 'lo', 'up');

my %name_of;

sub reap_all {
    while ((my $pid = waitpid -1, WNOHANG) > 0) {
        my $signal = $? & 127;
        my $status = $signal ? 128 + $signal : $? >> 8;
        # ILL TRAP ABRT BUS FPE SEGV SYS: it did not mean to end.
        print "crashed $pid $signal\n"
            if grep { $_ == $signal } 4, 5, 6, 7, 8, 11, 31;
        my $who = delete $name_of{$pid} or next;
        print "ended $who $status\n";
    }
    return;
}

sub start {
    my ($who, $log, @rest) = split /\x1f/, $_[0];
    my %env;
    while (@rest) {
        my $w = shift @rest;
        last if $w eq '--';
        my ($k, $v) = split /=/, $w, 2;
        $env{$k} = $v;
    }
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $SIG{CHLD} = $SIG{INT} = $SIG{TERM} = 'DEFAULT';
        POSIX::setsid();
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $log;
        open STDERR, '>&', \*STDOUT;
        %ENV = (%ENV, %env);
        exec { $rest[0] } @rest or POSIX::_exit(127);
    }
    $name_of{$pid} = $who;
    print "started $who $pid\n";
    return;
}

$SIG{INT} = $SIG{TERM} = $SIG{HUP} = 'IGNORE';
$SIG{CHLD} = sub { };
print "ready $outer\n";
my $buf = '';
while (1) {
    reap_all();
    vec(my $rin = '', 0, 1) = 1;
    my $n = select my $rout = $rin, undef, undef, 1;
    next if $n <= 0;
    my $got = sysread STDIN, $buf, 4096, length $buf;
    next if !defined $got && $! == EINTR;
    exit 0 if !$got;    # the lab has gone: so does the host
    while ($buf =~ s/^(.*)\n//) {
        start($1);
    }
}
