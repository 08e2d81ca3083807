#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Output Rule, packet by packet and disk write by disk write: nothing
# leaves the primary before the backup has acknowledged all up to it (I2).
#
# What left is seen from outside (a capture at the switch's port of the
# primary's host) and in QEMU's trace, which adds the log position; what was
# acknowledged is in the backup agent's trace.  With the acknowledgements
# delayed 50 ms on their way every output must wait for them; without delay
# the rule must cost little; and an emulator without the gate must be caught.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(pairs);
use Test::More;
use Lockstep::Audit qw(audit);
use Lockstep::Client;
use Lockstep::NoGate;
use Lockstep::OutputRule
    qw(clock_difference read_capture read_outputs read_acks judge median);
use Lockstep::Run qw(now stop until_ok write_file must);
use Lockstep::Test qw(requires with_failover note_step);

requires('small');

use constant RECORDS => 300;
# Private to each host, and QEMU's user may write there.
my $TRACE = '/var/lib/libvirt/qemu';

# Median reply time, in ms, of so many writes.
sub latency {
    my ($f, $records) = @_;
    my $c = Lockstep::Client->new($f->{lab}, $f->{guest});
    $c->until(sub { $c->acked >= $records }, 600, "$records replies");
    $c->finish;
    return 1000 * median(map { $_->[2] - $_->[1] } @{ $c->{acks} });
}

# A trial: { packets, writes (judged), latency, unprotected, frames }.
sub trial {
    my ($f) = @_;
    my $trial = {};
    $f->start_lab;
    my $lab = $f->{lab};
    $f->start_guest;
    $trial->{unprotected} = latency($f, 100);
    $f->protect;

    my ($a, $b) = map { $lab->host($_) } qw(hosta hostb);
    my $pcap = "$lab->{logs}/outside.pcap";
    my $before = clock_difference();
    my $tcpdump = $lab->capture('hosta', $pcap,
        'ether', 'src', $f->{guest}{mac});
    # The capture runs: from here on each packet must be in both.
    my $begin = now() * 1e9;
    $trial->{latency} = latency($f, RECORDS);
    my $end = now() * 1e9;
    my $outputs = read_outputs("$a->{dir}$TRACE/qemu.trace");
    my @traced = grep { $_->[1] eq 'packet' && $_->[0] >= $begin
        && $_->[0] <= $end } @$outputs;
    my $frames;
    until_ok('the capture has what QEMU sent', 60, sub {
        $frames = [grep { $_->[0] >= $begin }
            @{ read_capture($pcap, $before) }];
        return @$frames >= @traced;
    });
    stop($tcpdump, 'INT');
    $#$frames = $#traced;

    my $acks = read_acks("$b->{dir}$TRACE/agent.trace", 'ACK');
    $trial->{frames} = @$frames;
    $trial->{joined} = join_up($frames, \@traced);
    $trial->{packets} = judge(
        [map { [$frames->[$_][0], $traced[$_][3]] } 0 .. $#$frames], $acks)
        if $trial->{joined};
    $trial->{writes} = judge([map { [@$_[0, 3]] }
        grep { $_->[1] eq 'write' } @$outputs], $acks);
    must(['cp', "$b->{dir}$TRACE/agent.trace",
        "$a->{dir}$TRACE/qemu.trace", $lab->{logs}]);
    return $trial;
}

# Each packet of the trace is one frame outside, in order: their lengths
# differ by the offload header alone.
sub join_up {
    my ($frames, $traced) = @_;
    my %differ;
    $differ{ $traced->[$_][4] - $frames->[$_][1] }++ for 0 .. $#$frames;
    note('length in the trace less length outside: '
        . join ', ', map { "$_ ($differ{$_} times)" } sort keys %differ);
    return keys %differ == 1;
}

# Everything a trial needs: traces of both sides, and the lab's options.
sub options {
    my (%opt) = @_;
    my $real = Lockstep::Lab::prefix_default()
        . '/libexec/lockstep/lockstep-agent';
    my $wrapper = '/etc/lockstep/traced-agent';    # private, too
    # Patient, so that a busy machine does not start a failover meanwhile.
    my @conf = (['paths', 'agent', $wrapper],
        ['failover', 'detect_ms', 5000], ['failover', 'lease_ms', 4000]);
    my $emulator = $opt{emulator} // $ENV{LOCKSTEP_EMULATOR};
    push @conf, ['paths', 'emulator', $emulator] if $emulator;
    my $delay = $opt{delay} && ['--delay-ms', $opt{delay},
        '--from', $Lockstep::Lab::ADDRESS{hostb},
        '--to', $Lockstep::Lab::ADDRESS{hosta}];
    return (
        lab_options => { conf => \@conf,
            $delay ? (wire => { hostb => $delay }) : () },
        prepared => sub {
            my ($f) = @_;
            my $g = $f->{guest};
            write_file("$_->{dir}$wrapper", "#!/bin/sh\n"
                . "exec '$real' --trace $TRACE/agent.trace \"\$@\"\n", 0755)
                for values %{ $f->{lab}{hosts} };
            my $a = $f->{lab}->host('hosta');
            my $xml = $a->virsh('dumpxml', '--inactive', $g->{name});
            $xml =~ s/(lockstep,id=lockstep0,[^'"]*)/$1,trace=$TRACE\/qemu.trace/
                or die "the prepared domain has no lockstep object\n";
            write_file("$f->{lab}{shared}/traced.xml", $xml);
            $a->virsh('define', "$f->{lab}{shared}/traced.xml");
        });
}

sub figures {
    my ($what, $j) = @_;
    return "$what: none" if !$j->{count};
    return sprintf '%s: %d, %d before the acknowledgement; after it: '
        . 'least %.3f ms, median %.3f ms', $what, $j->{count}, $j->{early},
        $j->{after}[0] / 1e6, median(@{ $j->{after} }) / 1e6;
}

with_failover('without delay', sub {
    my ($f) = @_;
    my $t = trial($f);
    ok($t->{joined}, "each of $t->{frames} frames outside is in the trace");
    for my $kind (qw(packets writes)) {
        my $j = $t->{$kind};
        cmp_ok($j->{count} // 0, '>=', RECORDS, "$kind left") or next;
        note(figures($kind, $j));
        is($j->{early}, 0, "no $kind before their acknowledgement");
    }
    # The figure is for people; the bound only tells a rule that works from
    # one that does not, on whatever machine.
    cmp_ok($t->{latency} - $t->{unprotected}, '<', 500, sprintf
        'a write takes %.1f ms where it took %.1f ms unprotected',
        $t->{latency}, $t->{unprotected});
    audit($f->{lab}, guest => $f->{guest});
}, options());

with_failover('acknowledgements delayed 50 ms', sub {
    my ($f) = @_;
    my $t = trial($f);
    ok($t->{joined}, "each of $t->{frames} frames outside is in the trace");
    for my $kind (qw(packets writes)) {
        my $j = $t->{$kind};
        cmp_ok($j->{count} // 0, '>=', RECORDS, "$kind left") or next;
        note(figures($kind, $j));
        cmp_ok($j->{after}[0], '>=', 49.5e6,
            "each of the $kind left when its acknowledgement had arrived");
    }
    note(sprintf 'a write takes %.1f ms', $t->{latency});
    audit($f->{lab}, guest => $f->{guest});
}, options(delay => 50));

with_failover('an emulator without the gate is caught', sub {
    my ($f) = @_;
    my $emulator = Lockstep::NoGate::build(
        qemu => "$Lockstep::Lab::BUILD/qemu",
        patch => "$FindBin::Bin/no-gate.patch",
        out => "$Lockstep::Lab::BUILD/no-gate");
    $f->{$_->[0]} = $_->[1] for pairs(options(delay => 50,
        emulator => $emulator));
    my $t = trial($f);
    ok($t->{joined}, "each of $t->{frames} frames outside is in the trace");
    for my $kind (qw(packets writes)) {
        my $j = $t->{$kind};
        note(figures($kind, $j)) if $j;
        cmp_ok($j->{early} // 0, '>', 0,
            "$kind that left before their acknowledgement are seen");
    }
});

done_testing();
