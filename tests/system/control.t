#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What an operator does with a protected domain, and with lockstepd: prepare
# and its undo through a real libvirtd, an interrupted protect, daemons that
# die, a backup that is lost, unprotect, the guest's power-off (I6).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use IO::Socket::INET;
use JSON::PP qw(decode_json);
use Lockstep::Audit qw(audit);
use Lockstep::Guest;
use Lockstep::Run qw(now read_file until_ok);
use Lockstep::Test qw(requires with_failover);

requires('small');

my @PROTECT = qw(lockstep protect small --backup hostb);

sub listed {
    my ($f, $host) = @_;
    my ($state) = $f->{lab}->host($host)->virsh('list', '--all')
        =~ /^\s*\S+\s+small\s+(.*?)\s*$/m;
    return $state // 'nothing';
}

sub serves {
    my ($f, $when) = @_;
    ok(eval { $f->{guest}->wait_service($f->{lab}, 120); 1 },
        "$when: the guest serves");
    return;
}

sub gone_from {
    my ($f, $host, $when) = @_;
    ok(eval {
        until_ok('gone', 120, sub { listed($f, $host) eq 'nothing' }, 0.2);
    }, "$when: $host has no replica");
    return;
}

# Start `protect`, do something in its midst, and give back how it ended.
sub protect_and {
    my ($f, $code) = @_;
    my $a = $f->{lab}->host('hosta');
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        my $r = $a->run(\@PROTECT, timeout => 180);
        require POSIX;
        POSIX::_exit($r->{status} > 255 ? 255 : $r->{status});
    }
    eval {
        until_ok('the clone has begun', 120, sub {
            ($f->pair('hosta')->{state} // '') =~ /cloning|protected/;
        }, 0.02);
        $code->();
    };
    my $why = $@;
    waitpid $pid, 0;
    die $why if $why;
    return $? >> 8;
}

sub again_alone {
    my ($f, $when) = @_;
    my $a = $f->{lab}->host('hosta');
    $f->wait_pair('hosta', 120, 'alone', $f->pair('hosta')->{generation});
    gone_from($f, 'hostb', $when);
    is(listed($f, 'hosta'), 'running', "$when: it runs on hosta");
    is((stat "$f->{lab}{shared}/small.img")[4], Lockstep::Host::QEMU_USER,
        "$when: and its QEMU's user owns its image");
    serves($f, $when);
    return;
}

# Wait until libvirt's autostart flag on HOST is WANT.
sub autostart_is {
    my ($f, $host, $want, $what) = @_;
    my $last = '';
    ok(eval { until_ok('autostart', 30, sub {
        ($last) = $f->{lab}->host($host)->virsh('dominfo', 'small')
            =~ /^Autostart:\s+(\w+)/m;
        return $last eq $want }, 0.2) }, $what) or diag("it is: $last");
    return;
}

# A process's log on HOST, of lockstepd or of an agent.
sub log_of {
    my ($f, $host, $which) = @_;
    return read_file($f->{lab}->host($host)->{dir}
        . "/var/log/lockstep/$which.log") // '';
}

with_failover('one domain', sub {
    my ($f) = @_;
    $f->start_lab;
    my $lab = $f->{lab};
    my ($a, $b) = map { $lab->host($_) } qw(hosta hostb);
    my $g = $f->{guest} = Lockstep::Guest->new(kind => 'small',
        images => "$Lockstep::Lab::BUILD/guest", shared => $lab->{shared});
    $g->install;

    $g->define($a);
    my $plain = $a->virsh('dumpxml', '--inactive', 'small');
    like($a->must([qw(lockstep prepare small)]), qr/^changed .*emulator/m,
        'prepare says what it changes');
    my $prepared = $a->virsh('dumpxml', '--inactive', 'small');
    isnt($prepared, $plain, '... and changes it');
    like($a->must([qw(lockstep prepare small)]), qr/already prepared/,
        'a second time changes nothing');
    is($a->virsh('dumpxml', '--inactive', 'small'), $prepared, '... at all');
    $a->must([qw(lockstep prepare --undo small)]);
    is($a->virsh('dumpxml', '--inactive', 'small'), $plain,
        'undo restores the definition to the byte');
    $a->must([qw(lockstep prepare small)]);
    $a->virsh('autostart', 'small');
    $a->virsh('start', 'small');
    $g->wait_service($lab, 90);

    my $status = protect_and($f, sub {
        kill 'INT', $a->pids_of(qr{^lockstep$});
    });
    if ($status == 0) {
        # It was too quick.
        $a->must([qw(lockstep unprotect small)], timeout => 180);
    } else {
        is($status, 130, 'an interrupted protect says so');
    }
    again_alone($f, 'interrupted');

    my $second;
    protect_and($f, sub { $second = $a->run(\@PROTECT, timeout => 180) });
    isnt($second->{status}, 0, 'two at once: the second is refused');
    like($second->{err}, qr/domain small: .*(?:at work|already)/,
        '... by name');
    $a->must([qw(lockstep unprotect small)], timeout => 180);
    again_alone($f, 'two at once');

    for my $h ($a, $b) {
        my $when = "lockstepd of $h->{name} dies in a clone";
        protect_and($f, sub { $h->kill_processes(qr/^lockstepd$/) });
        $h->start_lockstepd;
        serves($f, $when);
        $a->run([qw(lockstep unprotect small)], timeout => 180);
        again_alone($f, $when);
    }

    $a->must(\@PROTECT, timeout => 180);
    $f->wait_pair('hosta', 120, 'protected',
        $f->pair('hosta')->{generation});
    is(listed($f, 'hostb'), 'paused', 'the replica is paused for libvirt');
    like($a->virsh('dominfo', 'small'), qr/^Autostart:\s+disable/m,
        'while protected it does not start by itself');
    for my $cmd (['suspend', 'small'], ['save', 'small', '/tmp/no'],
        ['setmem', 'small', '100M']) {
        my $r = $a->run(['virsh', '-q', '-c', 'qemu:///system', @$cmd],
            timeout => 30);
        isnt($r->{status}, 0, "virsh $cmd->[0] is refused");
        like($r->{err}, qr/protected by Lockstep/, '... by name');
    }
    like($b->run([qw(lockstep protect small --backup hosta)],
            timeout => 20)->{err}, qr/domain small: this host is its backup/,
        'it is not protected from its backup\'s side');
    $_->kill_processes(qr/^lockstepd$/) for $a, $b;
    serves($f, 'without lockstepd');
    $_->start_lockstepd for $a, $b;
    is($f->pair('hosta')->{state}, 'protected',
        'a new lockstepd finds the pair');

    my @libvirtd = $a->pids_of(qr/^libvirtd$/);
    kill 'STOP', @libvirtd;
    $a->restart_lockstepd;    # which has to connect to it
    my $began = now();
    my $shown = $a->run([qw(lockstep status small)], timeout => 60);
    cmp_ok(now() - $began, '<', 20, 'libvirtd hangs: status answers');
    like($shown->{out}, qr/^State: +protected\n.*libvirt: no answer/ms,
        '... and says so');
    my $refused = $a->run([qw(lockstep prepare small)], timeout => 60);
    isnt($refused->{status}, 0, '... and what needs libvirtd is refused');
    like($refused->{err}, qr/libvirt .*does not answer/, '... by name');
    kill 'CONT', @libvirtd;
    ok(eval { until_ok('libvirtd is back', 120, sub {
            ($f->pair('hosta')->{libvirt} // '') eq 'running' }, 0.5) },
        '... until it answers again');

    my $next = $f->pair('hosta')->{generation} + 1;
    $b->virsh('destroy', 'small');
    serves($f, 'the replica was destroyed');
    eval { $f->wait_pair('hosta', 120, 'protected', $next) };
    is($@, '', 'a new replica is made, nobody asked');

    $a->must([qw(lockstep unprotect small)], timeout => 180);
    again_alone($f, 'unprotected');
    like($a->virsh('dominfo', 'small'), qr/^Autostart:\s+enable/m,
        'unprotected, it starts by itself again');
    isnt($a->run([qw(lockstep unprotect small)], timeout => 180)->{status}, 0,
        'there is nothing to unprotect twice');

    $a->must(\@PROTECT, timeout => 180);
    my $off = 'my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0]) or die; '
        . 'print $s "off\n"; sleep 1';
    $lab->client_run([$^X, '-MIO::Socket::INET', '-e', $off,
        "$g->{address}:$g->{port}"], timeout => 10);
    gone_from($f, 'hostb', 'the guest powered off');
    ok(eval { until_ok('off', 120,
            sub { listed($f, 'hosta') eq 'shut off' }, 0.2) },
        '... and is shut off on hosta');
    ok(eval { until_ok('no agent', 120, sub {
            !grep { $_->{exe} =~ /lockstep-agent/ } map { $_->processes }
                $a, $b }, 0.2) }, '... and has no agent any more');
    autostart_is($f, 'hosta', 'enable', '... and starts by itself again');
    audit($lab, guest => $g);
});

# What host NAME has on file of the domain.
sub on_file {
    my ($f, $name) = @_;
    my $text = read_file($f->{lab}->host($name)->{dir}
        . "/var/lib/lockstep/vm/$f->{guest}{uuid}.json");
    return decode_json($text // '{}');
}

# `protect`, of which hosta's lockstepd stops before it says `commit`. Gives
# back its process.
sub protect_without_commit {
    my ($f) = @_;
    my $a = $f->{lab}->host('hosta');
    my @agent = $a->pause(qr/^lockstep-agent$/);
    my @daemon = $a->pause(qr/^lockstepd$/);
    $a->resume(@agent);
    until_ok('made', 60, sub {
        ($f->pair('hostb')->{state} // '') eq 'protected' }, 0.1);
    return @daemon;
}

# A pair that is being made, or is made and has not been reported as made:
# whatever dies then leaves a guest that serves, and what the operator set.
with_failover('a pair half made', sub {
    my ($f) = @_;
    $f->start_lab;
    $f->start_guest;
    my $lab = $f->{lab};
    my ($a, $b) = map { $lab->host($_) } qw(hosta hostb);
    $a->virsh('autostart', 'small');

    # hosta's lockstepd stops, then dies, when the pair is made.
    protect_and($f, sub {
        my @daemon = protect_without_commit($f);
        ok(eval { until_ok('not busy', 60, sub {
                !$f->pair('hostb')->{command} }, 0.5) },
            'a lockstepd that stops keeps the other host for a while only');
        kill 'KILL', @daemon;
    });
    $a->start_lockstepd;
    $f->wait_pair('hosta', 60, 'protected', 1);
    autostart_is($f, 'hosta', 'disable',
        'a pair that a new lockstepd finds does not start by itself');
    is(on_file($f, 'hosta')->{arbiter}, $lab->{arbiter},
        '... and its arbiter is on file');
    ok(on_file($f, 'hosta')->{autostart}, '... with what the operator set');
    ok(on_file($f, 'hostb')->{autostart}, '... on the other host, too');
    $a->virsh('autostart', 'small');
    autostart_is($f, 'hosta', 'disable', '... nor when somebody sets it now');
    $a->must([qw(lockstep unprotect small)], timeout => 180);
    again_alone($f, 'a pair that was found');
    autostart_is($f, 'hosta', 'enable', 'ended, it starts by itself again');

    # The backup's agent is stopped while the connection ends.
    my @stopped;
    protect_and($f, sub {
        my @daemon = protect_without_commit($f);
        @stopped = $b->pause(qr/^lockstep-agent$/);
        kill 'KILL', @daemon;
        eval { until_ok('the session ends', 30, sub {
            listed($f, 'hostb') ne 'paused'
                || log_of($f, 'hostb', 'lockstepd')
                    =~ /its keeper ends it, or keeps it/ }, 0.2) };
    });
    is(listed($f, 'hostb'), 'paused',
        'a replica whose agent does not answer is not removed');
    $b->resume(@stopped);
    $a->start_lockstepd;
    ok(eval { until_ok('protected', 120, sub {
            ($f->pair('hosta')->{state} // '') eq 'protected'
                && ($f->pair('hostb')->{state} // '') eq 'protected' }, 0.5) },
        '... and it is protected in the end');
    $a->must([qw(lockstep unprotect small)], timeout => 180);
    again_alone($f, 'the backup\'s agent was stopped');

    # The agent dies when its QEMU records.
    my $uuid = $f->{guest}{uuid};
    my $began = length log_of($f, 'hosta', "agent-$uuid");
    my $status = protect_and($f, sub {
        my @agent = $a->pause(qr/^lockstep-agent$/);
        $a->hide("$lab->{shared}/arbiter");
        $a->resume(@agent);
        until_ok('QEMU records, the arbiter is awaited', 30, sub {
            substr(log_of($f, 'hosta', "agent-$uuid"), $began)
                =~ /the clone's stream is complete/;
        }, 0.02);
        kill 'KILL', @agent;
        $a->unhide("$lab->{shared}/arbiter");
    });
    isnt($status, 0, 'the agent dies while QEMU records: protect fails');
    ok(eval { $f->{guest}->wait_service($lab, 20); 1 },
        '... and the guest serves within 20 s') or die "it stands\n";
    again_alone($f, 'its agent died');
    autostart_is($f, 'hosta', 'enable', '... and starts by itself as before');

    my $again = $a->run([qw(lockstep protect small)], timeout => 180);
    is($again->{status}, 0, 'protect knows the last backup host')
        or diag($again->{err});
    audit($lab, guest => $f->{guest});
});

# The primary's stored definition, on the backup's host.
sub carried {
    my ($host) = @_;
    my ($file) = glob "$host->{dir}/var/lib/lockstep/vm/*.carried.xml";
    return defined $file ? read_file($file) // '' : '';
}

with_failover('no daemon', sub {
    my ($f) = @_;
    $f->start_lab;
    $f->start_guest;
    my ($a, $b) = map { $f->{lab}->host($_) } qw(hosta hostb);
    $a->virsh('desc', 'small', '--config', '--new-desc', 'edited before');
    $f->protect;
    like(carried($b), qr/edited before/,
        'the other host knows what is to change at the next start');
    $a->virsh('desc', 'small', '--config', '--new-desc', 'edited since');
    ok(eval { until_ok('carried', 30,
            sub { carried($b) =~ /edited since/ }, 0.2) },
        '... also when that is edited later');
    $_->kill_processes(qr/^lockstepd$/) for $a, $b;
    $f->{lab}->kill_host('hosta');
    serves($f, 'hosta died, and no lockstepd ran');
    is(listed($f, 'hostb'), 'running', 'it runs on hostb');
    $b->start_lockstepd;
    ok(eval { until_ok('stored', 120, sub {
            $b->virsh('list', '--persistent') =~ /small/ }, 0.2) },
        'a new lockstepd stores its definition there');
    like($b->virsh('dumpxml', '--inactive', 'small'), qr/edited since/,
        '... with what was to change at the next start');
    unlike($b->virsh('dumpxml', '--inactive', 'small'), qr/incoming/,
        '... without what made it a replica');
    # Nobody is there who would make it the backup at once.
    $b->kill_processes(qr/^lockstepd$/);
    $f->{lab}->revive_host('hosta');
    my $lost = eval { $f->wait_pair('hosta', 120, 'fenced', 1) } // {};
    is($lost->{primary}, 'hostb', 'hosta knows who has the guest');
    like($lost->{reason}, qr/hostb owns generation 1.*do not start it here/,
        '... and what not to do');
    $b->start_lockstepd;
    eval { $f->wait_pair('hostb', 120, 'protected', 2) };
    is($@, '', 'and protects it again');
    is(listed($f, 'hosta'), 'paused', 'hosta is the backup now');
    $f->{lab}->kill_host('hosta');
    serves($f, 'the backup\'s host died');
    audit($f->{lab}, guest => $f->{guest});
});

done_testing();
