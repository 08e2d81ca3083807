#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A protected guest that suspends to RAM, which is not offered to it, runs on:
# asleep it would write no log, and its backup would take it for dead. The guest
# is counter.S.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Pair;
use Test::More;

my $dir = folder();
my $asks = 600;

build('counter.S', '-DHZ=100', '-DWORK=100', '-DLINE=1', "-DSLEEP=$asks");
start('A');
start('B', '-incoming', 'defer');
ok(counts_on('A', 20), 'a guest counts');
ok(agents("connect A $dir/A.sock", "connect B $dir/B.sock", 'clone A B 1',
    'wait A VL_CLONED', 'wait B VL_LOADED', 'gate A rule'), 'it is protected');
cmp_ok((counts('A'))[-1], '<', $asks, 'before it asks for sleep');
my $last = 0;
for (1 .. 100) {
    agents('run 200');
    $last = (counts('A'))[-1];
    last if $last > $asks + 100;
}
cmp_ok($last, '>', $asks + 100, 'and runs on when it has');
ok(agents('executed B', 'kill A', 'probe B', 'wait B VL_DISK', 'golive B',
    'wait B VL_LIVE'), 'so does its replica');
ended('A');
ok(counts_on('B', 50), 'which goes live');

done_testing;
