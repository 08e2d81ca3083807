#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# client: what a client of the guest sees.
#
#   client.pl write redis|echo ADDRESS PORT [FIRST]
#       Write numbered records over ONE TCP connection, each after the last
#       was acknowledged, until SIGUSR1.  Nothing here can connect twice.
#   client.pl ready redis|echo ADDRESS PORT
#       Status 0 when the service answers now.
#   client.pl check redis|echo ADDRESS PORT COUNT
#       Over a connection of its own: are records 1..COUNT there?
#
# Lines on stdout, times in seconds of CLOCK_MONOTONIC:
#   open LOCAL-PORT TIME | ack N SENT RECEIVED | broken TIME WHY
#   end LOCAL-PORT COUNT TIME | lost N WHAT | checked COUNT LOST

use strict;
use warnings;
use Errno qw(EINTR);
use IO::Select;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant PATIENCE => 120;    # seconds for one reply

my ($mode, $kind, $address, $port, $number) = @ARGV;
my $stop = 0;
$SIG{USR1} = sub { $stop = 1 };
$| = 1;

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub value { return "value-$_[0]-" . $_[0] * 7919 % 104729 }

# How to write record N: the request, and the whole of the good reply.
my %write = (
    redis => sub {
        my ($k, $v) = ("key:$_[0]", value($_[0]));
        return (sprintf("*3\r\n\$3\r\nSET\r\n\$%d\r\n%s\r\n\$%d\r\n%s\r\n",
            length $k, $k, length $v, $v), "+OK\r\n");
    },
    echo => sub { return ("w $_[0]\n", "w $_[0]\n") },
);

my %read = (
    redis => sub {
        my ($k, $v) = ("key:$_[0]", value($_[0]));
        return (sprintf("*2\r\n\$3\r\nGET\r\n\$%d\r\n%s\r\n", length $k, $k),
            sprintf("\$%d\r\n%s\r\n", length $v, $v));
    },
    echo => sub { return ("r $_[0]\n", "r $_[0] $_[0]\n") },
);

my $sock = IO::Socket::INET->new(
    PeerAddr => $address, PeerPort => $port, Timeout => $mode eq 'ready' ? 1 : 30)
    or do { printf "broken %.6f connect: %s\n", now(), $@ || $!; exit 1 };
setsockopt $sock, IPPROTO_TCP, TCP_NODELAY, 1;
my $select = IO::Select->new($sock);

# The reply, as long as the good one or up to a line's end when it differs.
sub ask {
    my ($request, $good) = @_;
    my $sent = 0;
    while ($sent < length $request) {
        my $n = syswrite $sock, $request, length($request) - $sent, $sent;
        next if !defined $n && $! == EINTR;
        die "write: $!\n" if !defined $n;
        $sent += $n;
    }
    my ($reply, $limit) = ('', now() + PATIENCE);
    while (length $reply < length $good) {
        last if $reply ne substr($good, 0, length $reply)
            && $reply =~ /\n\z/;
        my $left = $limit - now();
        die "no reply within " . PATIENCE . " s\n" if $left <= 0;
        next if !$select->can_read($left);
        my $n = sysread $sock, $reply, 4096, length $reply;
        next if !defined $n && $! == EINTR;
        die "read: $!\n" if !defined $n;
        die "the guest closed the connection\n" if !$n;
    }
    return $reply;
}

my %ready = (redis => ["PING\r\n", "+PONG\r\n"], echo => ["p 1\n", "p 1\n"]);

my $count = 0;
if ($mode eq 'write') {
    my $local = $sock->sockport;
    printf "open %d %.6f\n", $local, now();
    my $n = $number // 1;
    while (!$stop) {
        my ($request, $good) = $write{$kind}->($n);
        my $t0 = now();
        my $reply = eval { ask($request, $good) };
        if (!defined $reply || $reply ne $good) {
            my $why = $@ || "reply '$reply'";
            $why =~ s/\s+/ /g;
            printf "broken %.6f record %d: %s\n", now(), $n, $why;
            exit 1;
        }
        printf "ack %d %.6f %.6f\n", $n, $t0, now();
        $n++;
        $count++;
    }
    die "the socket has changed\n" if $sock->sockport != $local;
    printf "end %d %d %.6f\n", $local, $count, now();
} elsif ($mode eq 'ready') {
    exit !(ask(@{ $ready{$kind} }) eq $ready{$kind}[1]);
} else {
    my $lost = 0;
    for my $n (1 .. $number) {
        my ($request, $good) = $read{$kind}->($n);
        my $reply = ask($request, $good);
        next if $reply eq $good;
        $lost++;
        $reply =~ s/[\r\n]+/ /g;
        print "lost $n $reply\n" if $lost <= 20;
    }
    print "checked $number $lost\n";
}
