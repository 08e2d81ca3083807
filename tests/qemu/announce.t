#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An announcement that QEMU began before a clone, as it does after an ordinary
# migration, goes on by the host's clock: a primary must leave it out.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use IO::Socket::UNIX;
use JSON::PP;
use Pair;
use Test::More;

my $dir = folder();
my @nic = ('-netdev', 'socket,id=n0,udp=127.0.0.1:9,localaddr=127.0.0.1:0',
    '-device', 'virtio-net-pci,netdev=n0');

build('counter.S');
start('A', @nic);
start('B', @nic, '-incoming', 'defer');
ok(counts_on('A', 20), 'a guest counts');

my $qmp = IO::Socket::UNIX->new(Peer => "$dir/A.qmp") or die "A.qmp: $!\n";
for my $c ({ execute => 'qmp_capabilities' }, { execute => 'announce-self',
    arguments => { initial => 50, max => 200, rounds => 100, step => 1 } }) {
    print $qmp encode_json($c), "\n";
    $qmp->flush;
    my $line = '';
    $line = <$qmp> // die "A.qmp: closed\n" until $line =~ /"(?:return|error)"/;
    unlike($line, qr/"error"/, $c->{execute});
}
close $qmp;

ok(agents("connect A $dir/A.sock", "connect B $dir/B.sock", 'clone A B 1',
    'wait A VL_CLONED', 'wait B VL_LOADED', 'gate A rule', 'run 1500',
    'executed B'), 'its QEMU announces it while it is cloned');
unlike(said(), qr/VL_DIVERGED/, '... and the replica is the same');

done_testing;
