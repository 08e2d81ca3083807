# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Failover: one protected guest from its plain definition to its
# second generation: what quickstart shows and the system tests assert.

package Lockstep::Failover;
use strict;
use warnings;
use Lockstep::Client;
use Lockstep::Guest;
use Lockstep::Lab;
use Lockstep::Run qw(now read_file until_ok write_file);

use constant ACKS => 200;    # before and after the fault, at least

# Options: guest (debian, small), fault (a key of %FAULT), say (code), lab
# (options of Lockstep::Lab), xml (changes to the domain's definition).
sub new {
    my ($class, %opt) = @_;
    my $self = bless { say => sub { }, fault => 'host', xml => [], %opt },
        $class;
    return $self;
}

sub say { my ($self, @text) = @_; return $self->{say}->(@text) }

# Shows a command's lines; of a progress only the tens.
sub liner {
    my ($self) = @_;
    my $shown = '';
    return sub {
        my ($line) = @_;
        if ($line =~ /^(\w+)\s+(\d*)\d %/) {
            return if $shown eq "$1 $2";
            $shown = "$1 $2";
        }
        $self->say("    $line");
    };
}

# The pair's status as host NAME tells it: {} when it knows none.
sub pair {
    my ($self, $name) = @_;
    my $host = $self->{lab}->host($name);
    my $all = $host->is_on ? $host->status : undef;
    return _find($all, $self->{guest}{uuid}) // {};
}

sub _find {
    my ($in, $uuid) = @_;
    if (ref $in eq 'HASH') {
        return $in if ($in->{uuid} // '') eq $uuid && exists $in->{state};
        for (map { $in->{$_} } sort keys %$in) {
            my $found = ref && _find($_, $uuid);
            return $found if $found;
        }
    } elsif (ref $in eq 'ARRAY') {
        for (@$in) {
            my $found = ref && _find($_, $uuid);
            return $found if $found;
        }
    }
    return undef;
}

# What virsh list says of the guest on host NAME.
sub listed {
    my ($self, $name) = @_;
    my ($state) = $self->{lab}->host($name)->virsh('list', '--all')
        =~ /^\s*\S+\s+\Q$self->{guest}{name}\E\s+(.*?)\s*$/m;
    return $state // 'nothing';
}

# Until it says WANT: libvirt hears of a change a moment later.
sub wait_listed {
    my ($self, $name, $want) = @_;
    my $last = '';
    return 1 if eval {
        until_ok('virsh list', 60, sub {
            ($last = $self->listed($name)) eq $want;
        }, 0.2);
    };
    die "virsh list on $name shows '$last' and not '$want'\n";
}

sub wait_pair {
    my ($self, $name, $timeout, $state, $generation) = @_;
    my $last = '';
    my $p = eval {
        until_ok("host $name reports $state, generation $generation",
            $timeout, sub {
                $self->{client}->pump(0) if $self->{client};
                my $p = $self->pair($name);
                my $is = join ' ', map { $_ // '?' }
                    @$p{qw(state generation reason)};
                if ($is ne $last) {
                    $self->say("    $name: " . $is =~ s,\s+\z,,r) if %$p;
                    $last = $is;
                }
                return ($p->{state} // '') eq $state
                    && ($p->{generation} // 0) == $generation ? $p : undef;
            }, 0.2);
    };
    die $@ =~ s/\n$//r . " (it says: $last)\n" if !$p;
    return $p;
}

# --- the steps ---

sub start_lab {
    my ($self) = @_;
    $self->{lab} = Lockstep::Lab->new(
        name => "$self->{fault}-" . ($self->{guest_kind} // 'debian'),
        prefix => Lockstep::Lab::prefix_default(), %{ $self->{lab_options} // {} });
    my $spent = $self->{lab}->start;
    $self->say(sprintf 'hosts hosta and hostb and a client are up (%.1f s)',
        $spent);
    return;
}

sub start_guest {
    my ($self) = @_;
    my ($lab, $a) = ($self->{lab}, $self->{lab}->host('hosta'));
    my $g = $self->{guest} = Lockstep::Guest->new(
        kind => $self->{guest_kind} // 'debian',
        images => "$Lockstep::Lab::BUILD/guest", shared => $lab->{shared});
    $g->install;
    $g->define($a, @{ $self->{xml} });
    $self->say("hosta: virsh define $g->{name}.xml (plain libvirt XML)");
    $self->say("hosta: lockstep prepare $g->{name}");
    $a->lockstep($self->liner, 'prepare', $g->{name});
    $self->{prepared}->($self) if $self->{prepared};
    my $t = now();
    $a->virsh('start', $g->{name});
    $self->say("hosta: virsh start $g->{name}");
    $g->wait_service($lab, 600, sub {
        $self->say(sprintf '    the guest boots (%.0f s)', $_[0]);
    });
    $self->say(sprintf 'the guest serves clients %.1f s after its start',
        now() - $t);
    return;
}

sub protect {
    my ($self) = @_;
    my ($a, $g) = ($self->{lab}->host('hosta'), $self->{guest});
    my $t = now();
    $self->say("hosta: lockstep protect $g->{name} --backup hostb");
    $a->lockstep($self->liner, 'protect', $g->{name}, '--backup', 'hostb');
    $self->wait_pair($_, 120, 'protected', 1) for qw(hosta hostb);
    $self->say(sprintf 'protected, generation 1, after %.1f s', now() - $t);
    return;
}

sub write_some {
    my ($self) = @_;
    my $c = $self->{client} = Lockstep::Client->new(
        $self->{lab}, $self->{guest});
    $self->say('the client writes numbered records over one connection');
    $c->until(sub { $c->acked >= ACKS + 50 }, 300,
        ACKS . ' acknowledged writes');
    # The moment of the fault is random.
    my $moment = now() + rand 3;
    $c->until(sub { now() >= $moment }, 60, 'the moment of the fault');
    return;
}

# The only one of its kind on a host.
sub _kill_one {
    my ($host, $program) = @_;
    $host->kill_processes(qr/^\Q$program\E$/) == 1
        or die "$host->{name}: not one $program to kill\n";
    return;
}

# How hosta's guest loses its primary; each may return the time when it did.
my %FAULT = (
    host => ['hosta is dead: link down, SIGKILL to all its processes',
        sub { $_[0]{lab}->kill_host('hosta') }],
    qemu => ['hosta: SIGKILL to QEMU',
        sub { _kill_one($_[0]{lab}->host('hosta'), 'qemu-system-x86_64'); 0 }],
    agent => ['hosta: SIGKILL to its agent',
        sub { _kill_one($_[0]{lab}->host('hosta'), 'lockstep-agent'); 0 }],
    late => ['hosta: SIGKILL to QEMU, the replica standing until hosta\'s'
            . ' libvirt has cleared up',
        \&_kill_before_a_late_replica],
);

# libvirt has taken back what it lent to a QEMU that died before the replica
# comes to go live.
sub _kill_before_a_late_replica {
    my ($self) = @_;
    my ($a, $b) = map { $self->{lab}->host($_) } qw(hosta hostb);
    my @stopped = $b->pause(qr/^qemu-system-x86_64$/);
    _kill_one($a, 'qemu-system-x86_64');
    $self->wait_listed('hosta', 'shut off');
    $b->resume(@stopped);
    return 0;
}

sub inject {
    my ($self) = @_;
    my ($lab, $c) = ($self->{lab}, $self->{client});
    my ($what, $how) = @{ $FAULT{ $self->{fault} } };
    $c->pump(0);
    $self->{before} = $c->acked;
    my $at = now();
    $at = $how->($self) || $at;
    $self->{fault_time} = $at;
    $self->say($what);
    $c->until(sub { $c->acked_after($at + 0.02) >= ACKS }, 300,
        ACKS . ' acknowledged writes after the fault');
    $self->{marks} = $self->pair('hostb')->{timeline} // [];
    # The first reply since hostb began to go live (QEMU says that it is live
    # after its first outputs), and the one before it.
    my ($live) = map { $_->{t_ns} / 1e9 }
        grep { $_->{what} =~ /^go-live begun/ && $_->{t_ns} / 1e9 > $at }
        @{ $self->{marks} };
    my ($last, $first) = $c->around($live // $at);
    $self->{last_before} = $last;
    $self->{first_after} = $first;
    $self->{blackout_ms} = int(1000 * ($first - $last) + 0.5);
    return;
}

# Lines for a person: each event with its distance from the fault.
sub timeline {
    my ($self) = @_;
    my $t0 = $self->{fault_time};
    my @rows = (
        [$self->{last_before}, 'client', 'last reply before'],
        [$t0, 'lab', "fault: $self->{fault}"],
        [$self->{first_after}, 'client', 'first reply after'],
        map { [$_->{t_ns} / 1e9, 'hostb', $_->{what}] }
            @{ $self->{marks} });
    # The last failover only.
    @rows = grep { $_->[0] > $t0 - 5 } @rows;
    return map { sprintf '  %+9.1f ms  %-7s %s',
        1000 * ($_->[0] - $t0), $_->[1], $_->[2] }
        sort { $a->[0] <=> $b->[0] } @rows;
}

# Back to two hosts; the client goes on writing meanwhile.
sub reprotect {
    my ($self) = @_;
    my ($lab, $t) = ($self->{lab}, now());
    if ($self->{fault} eq 'host') {
        $lab->revive_host('hosta');
        $self->say(sprintf 'hosta is back (%.1f s)', now() - $t);
    }
    $self->wait_pair($_, 300, 'protected', 2) for qw(hostb hosta);
    $self->{reprotect_s} = now() - $t;
    $self->say(sprintf 'protected again, generation 2, after %.1f s; '
        . 'nobody asked for it', $self->{reprotect_s});
    for (['hostb', 'running'], ['hosta', 'paused']) {
        my ($host, $want) = @$_;
        $self->wait_listed($host, $want);
        $self->say("    virsh list on $host: $self->{guest}{name} $want");
    }
    return;
}

sub verify {
    my ($self) = @_;
    my $c = $self->{client};
    $self->{acked} = $c->finish;
    die "only $self->{before} writes acknowledged before the fault\n"
        if $self->{before} < ACKS;
    $self->{lost} = $c->check;
    $self->say("read back over a second connection: $self->{acked} "
        . "acknowledged writes, $self->{lost} lost");
    $self->say("    $_") for @{ $c->{missing} };
    return;
}

# Everything; returns the result line's fields.  Dies with the reason.
sub run {
    my ($self) = @_;
    $self->start_lab;
    $self->start_guest;
    $self->protect;
    $self->write_some;
    $self->inject;
    $self->say('timeline, from the fault on:');
    $self->say($_) for $self->timeline;
    $self->reprotect;
    $self->verify;
    die "$self->{lost} acknowledged writes are lost\n" if $self->{lost};
    return {
        blackout_ms => $self->{blackout_ms}, acked => $self->{acked},
        lost => $self->{lost}, connection => 'kept', generation => 2,
        reprotected => 'yes',
    };
}

# What to keep when something failed: each host's own view.
sub post_mortem {
    my ($self) = @_;
    my $lab = $self->{lab} or return;
    for my $h (values %{ $lab->{hosts} }) {
        next if !$h->is_on;
        my $text = '';
        for my $cmd (['lockstep', 'status', '--json'],
            ['virsh', '-c', 'qemu:///system', 'list', '--all']) {
            my $r = eval { $h->run($cmd, timeout => 10) } or next;
            $text .= "\$ @$cmd\n$r->{out}$r->{err}\n";
        }
        $text .= join '', map { "$_->{pid} $_->{cmd}\n" } $h->processes;
        write_file("$lab->{logs}/$h->{name}-post-mortem.txt", $text);
    }
    my $arb = $lab->run_anywhere(['lockstep', 'arbiter', 'show',
        $lab->{arbiter}]);
    write_file("$lab->{logs}/arbiter.txt", $arb) if defined $arb;
    return;
}

sub end {
    my ($self) = @_;
    $self->{lab}->end if $self->{lab};
    return;
}

1;
