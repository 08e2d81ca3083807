#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# load: keep a guest's service busy, unevenly, until SIGTERM.
#
#   load.pl redis|echo ADDRESS PORT CONNECTIONS
#
# Each connection sends bursts of requests, waits for their replies, and now
# and then pauses for some milliseconds: queues run full, run empty, and are
# found in every state between. Records of client.pl are left alone. It ends
# when the service says something wrong, and on SIGTERM when all is answered.

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($kind, $address, $port, $connections) = @ARGV;
my ($number, $stop) = (0, 0);
$SIG{TERM} = sub { $stop = 1 };

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# A request and what its reply looks like.
my %request = (
    echo => sub {
        my $n = ++$number;
        my $sector = 100_000 + $n % 20_000;
        return ("p $n\n", qr/\Gp $n\n/) if $n % 4;
        return ("w $sector\n", qr/\Gw $sector\n/) if $n % 8;
        return ("r $sector\n", qr/\Gr $sector \d+\n/);
    },
    redis => sub {
        my $n = ++$number;
        my $key = 'load:' . $n % 1000;
        return ("PING\r\n", qr/\G\+PONG\r\n/) if $n % 4 == 0;
        # Floating point, too.
        return ("ZINCRBY load 0.1 $key\r\n", qr/\G\$\d+\r\n[^\r]*\r\n/)
            if $n % 4 == 1;
        return ("SET $key " . 'x' x ($n % 500 + 1) . "\r\n", qr/\G\+OK\r\n/)
            if $n % 4 == 2;
        return ("GET $key\r\n", qr/\G\$(?:-1\r\n|\d+\r\n[^\r]*\r\n)/);
    },
);

my $select = IO::Select->new;
my %peer;
for my $i (1 .. $connections) {
    my $sock = IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port,
        Timeout => 30) or die "connect: $@\n";
    setsockopt $sock, IPPROTO_TCP, TCP_NODELAY, 1;
    $select->add($sock);
    $peer{$sock} = { sock => $sock, buf => '', want => [], at => 0 };
}

sub burst {
    my ($p) = @_;
    my $text = '';
    for (1 .. 1 + int rand(rand() < 0.2 ? 40 : 4)) {
        my ($request, $good) = $request{$kind}->();
        $text .= $request;
        push @{ $p->{want} }, $good;
    }
    syswrite($p->{sock}, $text) == length $text or die "write: $!\n";
    return;
}

sub take {
    my ($p) = @_;
    sysread($p->{sock}, $p->{buf}, 65536, length $p->{buf})
        or die "the guest closed the connection\n";
    pos($p->{buf}) = 0;
    while (@{ $p->{want} } && $p->{buf} =~ /$p->{want}[0]/gc) {
        shift @{ $p->{want} };
    }
    substr $p->{buf}, 0, pos $p->{buf}, '';
    die "the service says $p->{buf}\n" if $p->{buf} =~ /^[-!?]/;
    $p->{at} = now() + (rand() < 0.1 ? rand 0.03 : 0) if !@{ $p->{want} };
    return;
}

while (!$stop || grep { @{ $_->{want} } } values %peer) {
    my $next = now() + 1;
    for my $p (values %peer) {
        next if $stop || @{ $p->{want} };
        burst($p) if $p->{at} <= now();
        $next = $p->{at} if !@{ $p->{want} } && $p->{at} < $next;
    }
    my $left = $next - now();
    take($peer{$_}) for $select->can_read($left > 0 ? $left : 0);
}
