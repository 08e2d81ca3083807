# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::OutputRule: join what left (seen from outside, and as QEMU's trace
# has it) with what the backup had acknowledged, output by output.
#
# All clocks are this machine's CLOCK_MONOTONIC, in ns; the capture's stamps
# are the kernel's, in real time, and are moved over by the difference of the
# two clocks. It changes only when somebody sets the clock.

package Lockstep::OutputRule;
use strict;
use warnings;
use Exporter 'import';
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_REALTIME);

our @EXPORT_OK = qw(clock_difference read_capture read_outputs read_acks
    judge median);

# Real time minus monotonic time, in ns.
sub clock_difference {
    my ($best, $found);
    for (1 .. 20) {
        my $m0 = clock_gettime(CLOCK_MONOTONIC);
        my $r = clock_gettime(CLOCK_REALTIME);
        my $m1 = clock_gettime(CLOCK_MONOTONIC);
        next if defined $best && $m1 - $m0 >= $best;
        ($best, $found) = ($m1 - $m0, $r - ($m0 + $m1) / 2);
    }
    return $found * 1e9;
}

# Frames of a pcap file with ns stamps: [time, length on the wire]. BEFORE is
# clock_difference() as it was when the capture began.
sub read_capture {
    my ($path, $before) = @_;
    my $difference = clock_difference();
    die "the machine's clock was set during the capture\n"
        if abs($difference - $before) > 1e6;
    open my $fh, '<:raw', $path or die "$path: $!\n";
    my $head;
    read $fh, $head, 24;
    die "$path: not a capture with ns stamps\n"
        if length $head != 24 || unpack('V', $head) != 0xa1b23c4d;
    my @frames;
    my ($h, $bytes);
    while (read($fh, $h, 16) == 16) {
        my ($sec, $ns, $kept, $length) = unpack 'V4', $h;
        read $fh, $bytes, $kept;
        push @frames, [$sec * 1e9 + $ns - $difference, $length];
    }
    return \@frames;
}

# QEMU's trace: [time, kind, source, position, length]; those of a guest
# without a backup (position 0) are under no rule and left out.
sub read_outputs {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!\n";
    my @outputs;
    while (<$fh>) {
        my @f = /^(\d+) (\w+) (\d+) (\d+) (\d+)$/
            or die "$path: line $.: $_";
        push @outputs, \@f if $f[3];
    }
    return \@outputs;
}

# The agent's trace: [time, position], in order; WORD is ACK or ACKED.
sub read_acks {
    my ($path, $word) = @_;
    open my $fh, '<', $path or die "$path: $!\n";
    my @acks;
    while (<$fh>) {
        push @acks, [$1, $2] if /^(\d+) \Q$word\E (\d+)$/;
    }
    return \@acks;
}

# When was POSITION acknowledged first? By bisection: positions only grow.
sub _ack_time {
    my ($acks, $position) = @_;
    my ($lo, $hi) = (0, scalar @$acks);
    while ($lo < $hi) {
        my $mid = int(($lo + $hi) / 2);
        if ($acks->[$mid][1] >= $position) { $hi = $mid }
        else { $lo = $mid + 1 }
    }
    return $lo < @$acks ? $acks->[$lo][0] : undef;
}

# OUTPUTS: [time, position]. Returns { count, early => those that left before
# their acknowledgement (or without one), after => [ns each left after it] }.
sub judge {
    my ($outputs, $acks) = @_;
    my ($early, @after) = 0;
    for my $o (@$outputs) {
        my $t = _ack_time($acks, $o->[1]);
        if (!defined $t || $o->[0] < $t) { $early++ }
        push @after, defined $t ? $o->[0] - $t : -1e18;
    }
    return { count => scalar @$outputs, early => $early,
        after => [sort { $a <=> $b } @after] };
}

sub median {
    my @v = sort { $a <=> $b } @_;
    return $v[ $#v / 2 ];
}

1;
