#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a clone's source goes on with, its replica must have: guests that look
# at one thing each, cloned while they do, and replayed. A replica that differs
# says so, and then the agents' next command fails.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Pair;
use Test::More;

my $dir = folder();
my $generation = 0;
my $qemus = 0;

# Clone the guest on $name, let both run for $ms, see that they are the same.
sub cloned {
    my ($name, $ms, $what) = @_;
    my $replica = 'R' . ++$qemus;
    $generation++;
    start($replica, '-incoming', 'defer');
    my $same = agents("connect $replica $dir/$replica.sock",
        "clone $name $replica $generation", "wait $name VL_CLONED",
        "wait $replica VL_LOADED", "gate $name rule", "run $ms",
        "executed $replica");
    $same = 0 if said() =~ /VL_DIVERGED/;
    ok($same, $what);
    return $same ? $replica : undef;
}

sub first {
    my ($what) = @_;
    my $name = 'P' . ++$qemus;
    start($name);
    ok(counts_on($name, 20), $what);
    ok(agents("connect $name $dir/$name.sock"), 'its QEMU greets');
    return $name;
}

# Let the main loop wake up some us later than it wants; root may.
sub late_by {
    my ($name, $us) = @_;
    open my $f, '>', '/proc/' . pid($name) . '/timerslack_ns' or return;
    print $f $us * 1000;
    close $f;
}

# The primary dies; give the name of the one that goes on.
sub failed_over {
    my ($name, $replica) = @_;
    agents("kill $name");
    ended($name);
    ok(agents("executed $replica", "golive $replica",
        "wait $replica VL_LIVE"), 'its primary dies, the replica goes live')
        or return;
    ok(counts_on($replica, 20), 'and counts on');
    ok(steps_by_one(counts($replica)), 'one by one');
    return $replica;
}

# The replica is dismissed and the guest goes on alone.
sub alone {
    my ($name, $replica) = @_;
    agents("goalone $name", "wait $name VL_ALONE", "drop $replica")
        or return 0;
    return ended($replica) == 1 << 8;
}

# ---- timers that are due when the guest is stopped ------------------------

SKIP: {
    # A guest that nearly always waits for a timer, and a main loop that is late
    # for it: in one clone of eight a timer is due between the clone's end and
    # the guest's resumption.
    build('counter.S', qw(-DHZ=4000 -DWORK=10 -DLINE=80));
    my $a = first('a guest waits for timers');
    late_by($a, 4000);
    for my $n (1 .. 24) {
        my $b = cloned($a, 50, "clone $n of it does the same")
            or skip 'it differs', 1;
        alone($a, $b) or skip 'it does not go on alone', 1;
    }
    ok(steps_by_one(counts($a)), 'nothing is lost');
    agents("drop $a");
}

# ---- page tables ----------------------------------------------------------

SKIP: {
    build('pages.S');
    my $a = first('a guest sees through its TLB');
    for my $n (1 .. 3) {
        my $b = cloned($a, 1500, "clone $n sees the same")
            or skip 'it differs', 1;
        failed_over($a, $b) or skip 'it does not go live', 1;
        $a = $b;
        is(scalar(grep { /^bad/ } lines($a)), 0, 'nor anything wrong');
    }
    agents("drop $a");
}

# ---- the FPU --------------------------------------------------------------

SKIP: {
    build('fpu.S');
    my $a = first('a guest leaves selectors in the x87, exceptions in SSE');
    my $b = cloned($a, 500, 'a clone finds them') or skip 'it differs', 1;
    failed_over($a, $b) or skip 'it does not go live', 1;
    my %seen = map { join(' ', (split)[1, 2]) => 1 } lines($b);
    is_deeply([ keys %seen ], ['00000018 00001fa0'],
        'selectors of code and of data, and the exception');
}

done_testing;
