#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A batch of the log has a bound, whatever the guest does and however late
# QEMU's main loop is, which ends the vCPU's time slices. The guest is random.S;
# the main loop's thread is stopped with ptrace.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Pair;
use Test::More;
use Time::HiRes qw(sleep);

# Of x86-64, as the emulator is.
my ($PTRACE, $SEIZE, $INTERRUPT, $CONT) = (101, 0x4206, 0x4207, 7);
my ($WALL, $PPOLL) = (0x40000000, 271);
my $dir = folder();

build('random.S');
start('A', '-cpu', 'max');
start('B', '-cpu', 'max', '-incoming', 'defer');
counts_on('A', 1) or die "the guest does not count\n";
my $main = pid('A');
plan skip_all => "threads cannot be stopped: ptrace: $!"
    if syscall($PTRACE, $SEIZE, $main, 0, 0) != 0;
ok(agents("connect A $dir/A.sock", "connect B $dir/B.sock", 'clone A B 1',
    'wait A VL_CLONED', 'wait B VL_LOADED', 'gate A rule'),
    'a guest that asks for random numbers is protected');

# Stop it where it sleeps, and so has no lock that the vCPU needs.
sub sleeps {
    open my $f, '<', "/proc/$main/syscall" or return 0;
    return <$f> =~ /^$PPOLL /;
}
do {
    syscall $PTRACE, $CONT, $main, 0, 0;
    sleep 0.01;
    syscall($PTRACE, $INTERRUPT, $main, 0, 0) == 0
        && waitpid($main, $WALL) == $main or die "ptrace: $!\n";
} until sleeps();
# An acknowledgement would end the slice, too.
my $good = agents('hold on', 'run 3000', 'hold off');
syscall($PTRACE, $CONT, $main, 0, 0) == 0 or die "ptrace: $!\n";
ok($good, 'its log is well-formed while the main loop is late')
    or die "there is nothing more to test\n";
ok(agents('run 500', 'kill A', 'executed B', 'probe B', 'wait B VL_DISK',
    'golive B', 'wait B VL_LIVE'), 'and afterwards: its replica goes live');
ended('A');
ok(counts_on('B', 1), 'and goes on');

done_testing;
