#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Two hosts that are both alive and do not know it: a host that is paused for
# longer than the timeout and wakes, a network that parts the hosts, a storage
# that the survivor cannot reach.  One side goes on and the other is fenced (I1);
# the fenced one gives out nothing, not a packet and not a disk write (I7); who
# cannot reach the storage waits (I5); the client's one connection goes on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Lockstep::Audit qw(audit);
use Lockstep::OutputRule qw(clock_difference read_capture);
use Lockstep::Run qw(now read_file stop until_ok write_file must);
use Lockstep::Test qw(requires with_failover note_step);

requires('small');

# Private to each host, and QEMU's user may write there.
my $TRACE = '/var/lib/libvirt/qemu/lockstep.trace';
my %OTHER = (hosta => 'hostb', hostb => 'hosta');

# QEMU writes down each packet and disk write that leaves, on either host.
sub traced {
    my ($f) = @_;
    my $a = $f->{lab}->host('hosta');
    my $xml = $a->virsh('dumpxml', '--inactive', $f->{guest}{name});
    $xml =~ s/(lockstep,id=lockstep0,[^'"]*)/$1,trace=$TRACE/
        or die "the prepared domain has no lockstep object\n";
    write_file("$f->{lab}{shared}/traced.xml", $xml);
    $a->virsh('define', "$f->{lab}{shared}/traced.xml");
    return;
}

sub protected {
    my ($f) = @_;
    $f->start_lab;
    $f->start_guest;
    $f->protect;
    $f->write_some;
    $f->{before} = $f->{client}->acked;
    return;
}

# So many seconds of nothing but the client's work.
sub let_pass {
    my ($f, $seconds) = @_;
    my $end = now() + $seconds;
    while ((my $left = $end - now()) > 0) {
        $f->{client}->pump($left);
    }
    die "the client's connection broke: $f->{client}{broken}\n"
        if $f->{client}{broken};
    return;
}

sub goes_on {
    my ($f, $since, $when) = @_;
    my $c = $f->{client};
    ok(eval { $c->until(sub { $c->acked_after($since) >= 100 }, 300,
            'acknowledged writes'); 1 },
        "$when: the connection goes on") or diag($@);
    return;
}

# How an agent, or the lockstepd that has tidied up after it, puts it.
sub words {
    my ($f, $host) = @_;
    my $p = $f->pair($host);
    return join ' ', map { $_ // '?' } @$p{qw(state generation reason)};
}

sub wait_words {
    my ($f, $host, $re, $timeout) = @_;
    my $last = '';
    return until_ok("$host says $re", $timeout, sub {
        $f->{client}->pump(0);
        my $now = words($f, $host);
        note_step("$host: $now") if $now ne $last;
        $last = $now;
        return $now =~ $re ? $now : undef;
    });
}

# How often the agents of a host have ended as fenced.  By their log: nothing
# of a replica stays on its host, and a new pair is made within a second.
sub fenced {
    my ($f, $host) = @_;
    my $log = read_file($f->{lab}->host($host)->{dir}
        . "/var/log/lockstep/agent-$f->{guest}{uuid}.log") // '';
    my @ends = $log =~ /^\S+ \S+ lockstep-agent \w+: \S+ \S+ fenced: /mg;
    return scalar @ends;
}

sub is_fenced {
    my ($f, $host, $before, $when) = @_;
    ok(eval {
        until_ok("$host says that it is fenced", 120, sub {
            $f->{client}->pump(0);
            return fenced($f, $host) > $before;
        });
    }, "$when: $host is fenced") or diag($@);
    return;
}

# It has no QEMU either, and libvirt knows.
sub has_no_guest {
    my ($f, $host, $want) = @_;
    my $h = $f->{lab}->host($host);
    ok(eval { until_ok('no QEMU', 60,
            sub { !$h->pids_of(qr/^qemu-system/) }) },
        '... its QEMU is gone');
    is_listed($f, $host, $want, "... and virsh list shows $want");
    return;
}

sub is_listed {
    my ($f, $host, $want, $what) = @_;
    ok(eval { $f->wait_listed($host, $want) }, $what) or diag($@);
    return;
}

# When did HOST begin to run alone, after SINCE? In s of CLOCK_MONOTONIC.
sub alone_since {
    my ($f, $host, $since) = @_;
    return until_ok("$host runs the guest alone", 120, sub {
        $f->{client}->pump(0);
        my @marks = grep { $_ > $since } map { $_->{t_ns} / 1e9 }
            grep { $_->{what} =~ /^go-live begun|goes on alone/ }
            @{ $f->pair($host)->{timeline} // [] };
        return $marks[-1];
    });
}

# Of a host that was primary: its QEMU let nothing out after that moment.
sub let_nothing_out {
    my ($f, $host, $since) = @_;
    my $path = $f->{lab}->host($host)->{dir} . $TRACE;
    my @lines = split /\n/, read_file($path) // '';
    must(['cp', $path, "$f->{lab}{logs}/$host-qemu.trace"]) if @lines;
    cmp_ok(scalar @lines, '>=', 50, "$host: the trace has its outputs");
    my @late = grep { /^(\d+)/ && $1 / 1e9 > $since } @lines;
    is_deeply([@late[0 .. (@late > 5 ? 4 : $#late)]], [],
        '... and none, packet or disk write, after the other was live');
    return;
}

sub protected_again {
    my ($f, $primary, $generation) = @_;
    my $backup = $OTHER{$primary};
    my $t = now();
    ok(eval {
        $f->wait_pair($_, 300, 'protected', $generation)
            for $primary, $backup;
        1;
    }, "protected again, generation $generation, and nobody asked")
        or die "there is no redundancy to go on with: $@";
    note_step(sprintf 'redundancy is back after %.1f s', now() - $t);
    is_listed($f, $primary, 'running', "... $primary runs it");
    is_listed($f, $backup, 'paused', "... $backup has the replica");
    return;
}

sub nothing_is_lost {
    my ($f) = @_;
    ok(eval { $f->verify; 1 }, 'the client ends over the same socket')
        or diag($@);
    is($f->{lost}, 0, "all of $f->{acked} acknowledged writes are there");
    return;
}

# Pause WHAT on the primary's host until the other has taken over, and make
# sure of all that follows.
# Returns the new primary.
sub pause_primary {
    my ($f, $what, $primary, $generation) = @_;
    my ($lab, $other) = ($f->{lab}, $OTHER{$primary});
    my ($h, $o) = map { $lab->host($_) } $primary, $other;
    my $pcap = "$lab->{logs}/$primary-$generation.pcap";
    my $difference = clock_difference();
    my $tcpdump = $lab->capture($primary, $pcap, '-Q', 'in',
        'ether', 'src', $f->{guest}{mac});
    goes_on($f, now(), "before $what of $primary stops");
    my $before = fenced($f, $primary);
    my @qemu = $h->pids_of(qr/^qemu-system/);
    my $at = now();
    my @stopped = $h->pause($what eq 'all' ? () :
        $what eq 'QEMU' ? qr/^qemu-system/ : qr/^lockstep-agent$/);
    my $live = alone_since($f, $other, $at);
    pass(sprintf '%s of %s stops: %s is live after %.0f ms', $what, $primary,
        $other, 1000 * ($live - $at));
    let_pass($f, 1);
    goes_on($f, $live, "$primary still stands");
    if ($what ne 'QEMU') {
        # So that the host is looked at before it is a backup again.
        $o->kill_processes(qr/^lockstepd$/);
    }
    if ($what eq 'all') {
        # The worst order: the guest wakes before anybody can stop it.
        $h->resume(@qemu);
        let_pass($f, 0.5);
    }
    my $woke = now();
    $h->resume(@stopped);
    is_fenced($f, $primary, $before, 'awake');
    if ($what ne 'QEMU') {
        has_no_guest($f, $primary, 'shut off');
        like(words($f, $primary), qr/\bfenced\b/, '... its status says why');
        let_nothing_out($f, $primary, $live);
    } else {
        # libvirt hears of the end a moment later. A new replica may stand
        # there by then.
        ok(eval { until_ok("$primary does not run it", 60,
                sub { $f->listed($primary) ne 'running' }) },
            '... and virsh list does not show it running');
    }
    goes_on($f, $woke, "$primary woke");
    stop($tcpdump, 'INT');
    my @frames = map { $_->[0] / 1e9 } @{ read_capture($pcap, $difference) };
    cmp_ok(scalar(grep { $_ < $live } @frames), '>=', 50,
        "the capture has what the guest sent from $primary");
    is(scalar(grep { $_ > $live } @frames), 0,
        "... and not one frame after $other was live");
    audit($lab, guest => $f->{guest});
    $o->start_lockstepd if $what ne 'QEMU';
    protected_again($f, $other, $generation + 1);
    return $other;
}

with_failover('a paused host', sub {
    my ($f) = @_;
    protected($f);
    my ($lab, $c) = @$f{qw(lab client)};

    for my $host (qw(hosta hostb)) {
        my ($h, $t) = ($lab->host($host), now());
        my @stopped = $h->pause;
        let_pass($f, 1);
        $h->resume(@stopped);
        goes_on($f, now(), "$host stops for 1 s");
        cmp_ok(my $silence = $c->longest_silence($t - 0.2), '>', 0.8,
            '... it did stop');
        note(sprintf 'the longest silence was %.0f ms', 1000 * $silence);
        like(words($f, $_), qr/^protected 1 /, "... $_ is still protected")
            for qw(hosta hostb);
        is(scalar @{ $f->pair($_)->{timeline} // [] }, 0,
            "... $_ suspected nothing") for qw(hosta hostb);
    }

    my ($primary, $generation) = ('hosta', 1);
    for my $what (qw(all agent QEMU)) {
        $primary = pause_primary($f, $what, $primary, $generation++);
    }

    my $backup = $OTHER{$primary};
    my $before = fenced($f, $backup);
    my $at = now();
    my @stopped = $lab->host($backup)->pause;
    my $alone = alone_since($f, $primary, $at);
    pass("all of the backup's host stops: $primary goes on alone");
    goes_on($f, $alone, 'without a backup');
    $lab->host($backup)->resume(@stopped);
    is_fenced($f, $backup, $before, 'awake');
    protected_again($f, $primary, $generation + 1);
    nothing_is_lost($f);
    audit($lab, guest => $f->{guest});
}, fault => 'pause', prepared => \&traced);

# Both hosts have come to an end: who goes on?
sub decided {
    my ($f, $when, %before) = @_;
    my ($winner, $loser);
    ok(eval {
        until_ok('one is fenced', 120, sub {
            $f->{client}->pump(0);
            ($loser) = grep { fenced($f, $_) > $before{$_} } keys %before;
            return $loser;
        });
        $winner = $OTHER{$loser};
        wait_words($f, $winner, qr/^(?:alone|live) /, 60);
    }, "$when: one goes on and the other is fenced") or do {
        diag($@);
        die "the hosts do not come to a decision\n";
    };
    is(fenced($f, $winner), $before{$winner}, "... $winner goes on");
    return ($winner, $loser);
}

with_failover('a parted network', sub {
    my ($f) = @_;
    protected($f);
    my $lab = $f->{lab};
    my $folder = "$lab->{shared}/arbiter";

    # Whoever is quicker at the arbiter; then, when nobody reaches it,
    # whoever reaches it first.
    my $primary = 'hosta';
    for my $g (1, 2) {
        my $when = $g == 1 ? 'parted' : 'parted, and without the arbiter';
        my %before = map { $_ => fenced($f, $_) } qw(hosta hostb);
        if ($g == 2) {
            $lab->host($_)->hide($folder) for qw(hosta hostb);
        }
        my $at = now();
        $lab->part_hosts('on');
        if ($g == 2) {
            for my $host (qw(hosta hostb)) {
                ok(eval { wait_words($f, $host,
                        qr/^arbitrating $g .*arbiter/, 60) },
                    "$when: $host waits, and says so") or diag($@);
            }
            my $acked = $f->{client}->acked;
            let_pass($f, 2);
            is($f->{client}->acked, $acked, '... nobody serves');
            $at = now();
            $lab->host($_)->unhide($folder) for qw(hosta hostb);
        }
        my ($winner, $loser) = decided($f, $when, %before);
        goes_on($f, alone_since($f, $winner, $at), "$winner runs alone");
        has_no_guest($f, $loser, $loser eq $primary ? 'shut off' : 'nothing');
        is_listed($f, $winner, 'running', "... it runs on $winner");
        let_nothing_out($f, $loser, alone_since($f, $winner, $at))
            if $loser eq $primary;
        audit($lab, guest => $f->{guest});
        $lab->part_hosts('off');
        protected_again($f, $winner, $g + 1);
        $primary = $winner;
    }

    # Nobody reaches the primary, which cannot reach the arbiter in time.
    my ($loser, $winner) = ($primary, $OTHER{$primary});
    my $before = fenced($f, $loser);
    $lab->host($loser)->hide($folder);
    my $at = now();
    $lab->link_of($loser, 'down');
    ok(eval { wait_words($f, $winner, qr/^(?:alone|live) 3 /, 120) },
        "$loser is cut off: $winner is live") or diag($@);
    my $live = alone_since($f, $winner, $at);
    goes_on($f, $live, "$winner runs alone");
    ok(eval { wait_words($f, $loser, qr/^arbitrating 3 .*arbiter/, 60) },
        "... $loser waits for the arbiter, and says so") or diag($@);
    $lab->host($loser)->unhide($folder);
    is_fenced($f, $loser, $before, 'the arbiter is back');
    has_no_guest($f, $loser, 'shut off');
    let_nothing_out($f, $loser, $live);
    audit($lab, guest => $f->{guest});
    $lab->link_of($loser, 'up');
    protected_again($f, $winner, 4);
    nothing_is_lost($f);
    audit($lab, guest => $f->{guest});
}, fault => 'part', prepared => \&traced);

with_failover('an arbiter out of reach', sub {
    my ($f) = @_;
    protected($f);
    my ($lab, $c) = @$f{qw(lab client)};
    my $b = $lab->host('hostb');
    my $folder = "$lab->{shared}/arbiter";

    $b->hide($folder);
    my $at = $lab->kill_host('hosta');
    my $said = eval {
        wait_words($f, 'hostb', qr/^arbitrating 1 .*arbiter/, 60);
    };
    ok($said, 'hosta dies: hostb waits for the arbiter') or diag($@);
    like($said, qr/not mounted|was never prepared/,
        '... and lockstep status --json says why');
    my $acked = $c->acked;
    let_pass($f, 3);
    like(words($f, 'hostb'), qr/^arbitrating 1 /, '... for 3 s');
    like($b->must(['lockstep', 'status']),
        qr/arbitrating.*\n.*\barbiter\b.*not mounted/,
        '... and lockstep status shows it to a person');
    is($f->listed('hostb'), 'paused', '... the replica stays a replica');
    is($c->acked, $acked, '... and serves nobody');
    my $back = now();
    $b->unhide($folder);
    ok(eval { wait_words($f, 'hostb', qr/^(?:live|alone) 1 /, 120) },
        'the arbiter is back: hostb is live') or diag($@);
    note_step(sprintf 'live %.0f ms after the storage returned',
        1000 * (alone_since($f, 'hostb', $back) - $back));
    goes_on($f, $back, 'hostb is live');
    audit($lab, guest => $f->{guest});
    $lab->revive_host('hosta');
    protected_again($f, 'hostb', 2);
    nothing_is_lost($f);
    audit($lab, guest => $f->{guest});
}, fault => 'storage');

done_testing();
