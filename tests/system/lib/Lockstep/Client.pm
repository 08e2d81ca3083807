# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Client: the writing client, seen from the test: what it has been
# acknowledged, and when.

package Lockstep::Client;
use strict;
use warnings;
use File::Basename qw(dirname);
use IO::Select;
use Lockstep::Run qw(now reap stop);

my $PROGRAM = dirname(__FILE__) . '/../../client.pl';

# Start writing to GUEST from LAB's client.
sub new {
    my ($class, $lab, $guest) = @_;
    my $kind = $guest->{service};
    my $self = bless {
        lab => $lab, guest => $guest, kind => $kind,
        acks => [],    # [number, sent, received], in order
        buf => '',
    }, $class;
    $self->{child} = $lab->client(
        [$^X, $PROGRAM, 'write', $kind, $guest->{address}, $guest->{port}],
        out => 'pipe', log => "$lab->{logs}/client.log");
    $self->until(sub { defined $self->{port} }, 120, 'the client connects');
    return $self;
}

# Take in what the client says for at most so many seconds.
sub pump {
    my ($self, $seconds) = @_;
    return if $self->{eof};
    my $sel = IO::Select->new($self->{child}{out});
    return if !$sel->can_read($seconds);
    my $n = sysread $self->{child}{out}, $self->{buf}, 65536,
        length $self->{buf};
    if (!$n) {
        $self->{eof} = 1;
        return;
    }
    while ($self->{buf} =~ s/^([^\n]*)\n//) {
        my ($what, @f) = split / /, $1;
        if ($what eq 'ack') { push @{ $self->{acks} }, \@f }
        elsif ($what eq 'open') { $self->{port} = $f[0] }
        elsif ($what eq 'end') { $self->{end} = { port => $f[0] } }
        elsif ($what eq 'broken') {
            $self->{broken} = join ' ', @f[1 .. $#f];
        }
    }
    return;
}

# Go on until COND holds; dies at the bound or when the connection breaks.
sub until {
    my ($self, $cond, $timeout, $what) = @_;
    my $limit = now() + $timeout;
    while (!$cond->()) {
        die "the client's connection broke: $self->{broken}\n"
            if $self->{broken};
        die "the client ended\n" if $self->{eof};
        my $left = $limit - now();
        die "$what: not within $timeout s\n" if $left <= 0;
        $self->pump($left < 0.2 ? $left : 0.2);
    }
    return;
}

sub acked { return scalar @{ $_[0]{acks} } }

# How many were acknowledged after a time, and the last such time.
sub acked_after {
    my ($self, $t) = @_;
    my $n = 0;
    for my $a (reverse @{ $self->{acks} }) {
        last if $a->[2] <= $t;
        $n++;
    }
    return $n;
}

# The last reply before time T and the first one after it.
sub around {
    my ($self, $t) = @_;
    my $acks = $self->{acks};
    for my $i (reverse 0 .. $#$acks - 1) {
        return ($acks->[$i][2], $acks->[ $i + 1 ][2])
            if $acks->[$i][2] <= $t;
    }
    die "the client has no reply before and after the fault\n";
}

# The longest time between two replies since time T, in seconds.
sub longest_silence {
    my ($self, $t) = @_;
    my ($best, $acks) = (0, $self->{acks});
    for my $i (reverse 1 .. $#$acks) {
        last if $acks->[ $i - 1 ][2] < $t;
        my $gap = $acks->[$i][2] - $acks->[ $i - 1 ][2];
        $best = $gap if $gap > $best;
    }
    return $best;
}

# Let it end, properly: returns the number acknowledged.
sub finish {
    my ($self) = @_;
    kill 'USR1', $self->{child}{pid};
    $self->until(sub { $self->{end} }, 180, 'the client ends');
    stop($self->{child});
    die "the client's socket changed\n"
        if $self->{end}{port} != $self->{port};
    return $self->acked;
}

# Over another connection: the numbers of those lost.
sub check {
    my ($self) = @_;
    my $r = $self->{lab}->client_run(
        [$^X, $PROGRAM, 'check', $self->{kind}, $self->{guest}{address},
            $self->{guest}{port}, $self->acked], timeout => 600);
    my ($count, $lost) = $r->{out} =~ /^checked (\d+) (\d+)$/m
        or die "reading the records back failed: $r->{out}$r->{err}\n";
    $self->{missing} = [$r->{out} =~ /^(lost .*)$/mg];
    return $lost;
}

1;
