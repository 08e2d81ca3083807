#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A clone's source goes on with the state that its memory holds, and its
# replica begins with the state that was sent: what one has and the other has
# not shows as a divergence, sooner or later. So: a guest under load, cloned
# again and again.
#
#   clones.t [--guest small|debian] [--clones N] [--seconds S] [--minutes M]
#
# S is how long each pair runs; M minutes after the guest was up no clone
# begins any more.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Getopt::Long qw(GetOptions);
use Test::More;
use Lockstep::Audit qw(audit);
use Lockstep::Client;
use Lockstep::Run qw(now read_file reap stop until_ok);
use Lockstep::Test qw(note_step requires with_failover);

my %opt = (guest => 'small', clones => 6, seconds => 3, minutes => 1);
GetOptions(\%opt, qw(guest=s clones=i seconds=f minutes=f)) or exit 2;
requires($opt{guest});

# What the replica's QEMU has said of divergences, all in all.
sub divergences {
    my ($f) = @_;
    my $log = "$f->{lab}{dir}/hostb/var/log/libvirt/qemu/"
        . "$f->{guest}{name}.log";
    return (read_file($log) // '') =~ /^(.*lockstep: diverged .*)$/mg;
}

sub state_is {
    my ($f, $host, $want) = @_;
    return until_ok("$host is $want", 60, sub {
        $f->{client}->pump(0);
        my $p = $f->pair($host);
        return ($p->{state} // '') eq $want ? $p : undef;
    }, 0.1);
}

sub serves {
    my ($f) = @_;
    return $f->{lab}->client_run([$^X, "$FindBin::Bin/client.pl", 'ready',
        @{ $f->{guest} }{qw(service address port)}], timeout => 10)->{status}
        == 0;
}

# A machine with much else to do is no failed host.
my @PATIENT = map { ['failover', @$_] } ['detect_ms', 5000],
    ['lease_ms', 4500];

# The new pair's generation; undef when the clone was not made.
sub protect {
    my ($f) = @_;
    my $r = $f->{lab}->host('hosta')->run(['lockstep', 'protect',
        $f->{guest}{name}, '--backup', 'hostb'], timeout => 120);
    if ($r->{status}) {
        note_step($r->{err} =~ s/\n.*//sr);
        return undef;
    }
    return state_is($f, 'hosta', 'protected')->{generation};
}

# One clone and S seconds of its life: undef when the clone was not made, else
# why the pair ended early, or ''.
sub clone {
    my ($f) = @_;
    my ($a, $b) = map { $f->{lab}->host($_) } qw(hosta hostb);
    my $name = $f->{guest}{name};
    my $generation = protect($f) // return undef;
    my ($end, $why) = (now() + $opt{seconds}, '');
    $f->{client}->until(sub { now() >= $end }, 60, 'some seconds');
    my $p = $f->pair('hosta');
    if ($p->{state} ne 'protected' || $p->{generation} != $generation) {
        $why = "generation $generation ended: "
            . join ' ', map { $_ // '?' } @$p{qw(state generation reason)};
        eval { state_is($f, 'hosta', 'protected') };    # by itself
    }
    $a->must(['lockstep', 'unprotect', $name], timeout => 60);
    state_is($f, 'hosta', 'alone');
    until_ok('hostb has no replica', 60, sub {
        $b->virsh('list', '--all') !~ /\s\Q$name\E\s/;
    }, 0.1);
    return $why;
}

with_failover("a $opt{guest} guest is cloned again and again", sub {
    my ($f) = @_;
    $f->start_lab;
    $f->start_guest;
    my $limit = now() + 60 * $opt{minutes};
    my $g = $f->{guest};
    $f->{client} = Lockstep::Client->new($f->{lab}, $g);
    my $load = $f->{lab}->client([$^X, "$FindBin::Bin/load.pl",
        $g->{service}, $g->{address}, $g->{port}, 4],
        log => "$f->{lab}{logs}/load.log");
    my ($clones, @ended) = 0;
    while ($clones < $opt{clones} && now() < $limit) {
        my $why = clone($f) // next;
        $clones++;
        push @ended, $why if $why;
        note_step("clone $clones: ", $why || 'good');
    }
    cmp_ok($clones, '>=', 3, "$clones clones");
    is_deeply(\@ended, [], 'each lived until it was dismissed');
    is_deeply([divergences($f)], [], 'no replica diverged');
    is(reap($load), undef, 'the load was served throughout');
    stop($load, 'TERM');
    $f->{acked} = $f->{client}->finish;
    is($f->{client}->check, 0,
        "all of $f->{acked} acknowledged writes are there");

    my $generation = protect($f) // die "the last clone was not made\n";
    $f->{lab}->host('hosta')->virsh('reset', $g->{name});
    until_ok('the guest is down', 60, sub { !serves($f) }, 0.1);
    $g->wait_service($f->{lab}, 180);
    pass('the guest is reset, and boots');
    my $p = $f->pair('hosta');
    is("$p->{state} $p->{generation}", "protected $generation",
        '... on both sides');
    is_deeply([divergences($f)], [], '... alike');
    audit($f->{lab}, guest => $g);
}, guest_kind => $opt{guest}, lab_options => { conf => \@PATIENT });

done_testing();
