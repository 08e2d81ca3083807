#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# agent.t - two real agents, each with a fake QEMU, over loopback TLS
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use List::Util qw(max);
use Test::More;
use Time::HiRes qw(time sleep);
use Agents qw(PATIENCE);

# The only thing that the outside can tell: who made outputs, and when.
sub one_after_the_other {
    my ($t, $what) = @_;
    my @a = $t->outputs("hosta");
    my @b = $t->wait_for(PATIENCE, "outputs of hostb",
        sub { my @o = $t->outputs("hostb"); @o > 20 && \@o })->@*;
    ok($a[-1]{ns} < $b[0]{ns}, "$what: no output of the old primary comes "
        . "after the first of the new");
    ok($a[-1]{counter} < $b[0]{counter}, "$what: nothing that was seen "
        . "outside is done again or forgotten");
    my $blackout = ($b[0]{ns} - $a[-1]{ns}) / 1e6;
    diag(sprintf "%s: %.0f ms without an output", $what, $blackout);
    return $blackout;
}

# The guest on hosta makes outputs, more than the $n of before.
sub goes_on {
    my ($t, $n) = @_;
    $t->wait_for(PATIENCE, "outputs",
        sub { $t->outputs("hosta") > $n + 10 });
}

sub fresh {
    my (%o) = @_;
    my $t = Agents->new(%o);
    $t->start;
    return $t;
}

subtest "a guest becomes protected" => sub {
    my $t = fresh();
    is($t->status("hosta")->{state}, "alone", "before: alone");
    is($t->status("hosta")->{role}, "none", "before: no role");
    $t->protected("hosta", "hostb", 1);
    my ($a, $b) = map { $t->status($_) } "hosta", "hostb";
    is($a->{role}, "primary", "hosta is the primary");
    is($b->{role}, "backup", "hostb is the backup");
    is($a->{generation}, 1, "the generation is shown");
    is($a->{peer}, "hostb", "the peer is shown");
    is($a->{fence}, "none", "the fence policy is shown");
    my $n = $t->outputs("hosta");
    my %is = (
        "the lease is valid" => sub { $_[0]{lease_ms} > 500 },
        "outputs flow" => sub { $t->outputs("hosta") > $n + 20 },
        "acknowledgements come" => sub { $_[0]{acked} > 0 },
        "the replica executes" => sub { $_[0]{executed} > 0 },
        "it keeps up" => sub { $_[0]{lag_ms} < 200 },
    );
    for my $what (sort keys %is) {
        $t->wait_for(PATIENCE, $what,
            sub { $is{$what}->($t->status("hosta")) });
        pass($what);
    }
    is(scalar $t->outputs("hostb"), 0, "the replica's outputs are swallowed");
    $t->stop;
};

my %deaths = (
    "kill QEMU" => sub { kill "KILL", $_[0]{qemu} },
    "kill the agent" => sub { kill "KILL", $_[0]{agent} },
    "kill both" => sub { kill "KILL", @{ $_[0] }{qw(agent qemu)} },
);
for my $death (sort keys %deaths) {
    subtest "$death of the primary: the backup goes live" => sub {
        my $t = fresh();
        $t->protected("hosta", "hostb", 1);
        $deaths{$death}->($t->{hosta});
        $t->wait_state("hostb", "live");
        my $b = $t->wait_for(PATIENCE, "role primary", sub {
            my $s = $t->status("hostb");
            ($s->{role} // "") eq "primary" && $s;
        });
        is($b->{state}, "live", "it is a primary then, and live");
        is($b->{generation}, 1, "in the generation that it won");
        my @what = map { $_->{what} } @{ $b->{timeline} };
        like("@what", qr/detected.*arbitration.*go-live.*live:/,
            "the timeline tells it");
        note("  $_") for @what;
        one_after_the_other($t, $death);
        $t->stop;
    };
}

subtest "an agent that comes after a failover lets its QEMU end" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    kill "KILL", $t->{hosta}{agent};
    $t->ended($t->{hosta}{agent}, PATIENCE);
    $t->start_agent("hosta");
    $t->wait_state("hostb", "live");
    my $a = $t->wait_state("hosta", "fenced");
    like($a->{reason}, qr/won/, "it says that the backup has won");
    $t->ended($t->{hosta}{qemu}, PATIENCE);
    one_after_the_other($t, "restarted agent");
    $t->stop;
};

subtest "an agent that comes after both others died frees its QEMU" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    kill "KILL", $t->{hosta}{agent}, $t->{hostb}{agent}, $t->{hostb}{qemu};
    $t->ended($t->{hosta}{agent}, PATIENCE);
    $t->start_agent("hosta");
    $t->wait_state("hosta", "arbitrating");
    my $n = $t->outputs("hosta");
    my $a = $t->wait_state("hosta", "alone");
    goes_on($t, $n);
    pass("the guest goes on");
    $t->stop;
};

for my $case ([1, "primary", "alone"], [2, "backup", "fenced"]) {
    my ($side, $who, $state) = @$case;
    subtest "an agent that comes after one of the $who had won: $state" => sub {
        my $t = fresh();
        $t->protected("hosta", "hostb", 1);
        kill "KILL", $t->{hosta}{agent}, $t->{hostb}{agent}, $t->{hostb}{qemu};
        $t->ended($t->{hosta}{agent}, PATIENCE);
        $t->take($side);
        $t->start_agent("hosta");
        my $n = $t->outputs("hosta");
        $t->wait_state("hosta", $state);
        goes_on($t, $n) if $state eq "alone";
        is($t->outputs("hosta"), $n, "no output") if $state ne "alone";
        pass("$state");
        $t->stop;
    };
}

for my $frozen ("agent", "qemu", "both") {
    subtest "freeze $frozen of the primary beyond the timeout" => sub {
        my $t = fresh();
        $t->protected("hosta", "hostb", 1);
        my @pids = $frozen eq "both" ? @{ $t->{hosta} }{qw(agent qemu)}
                                     : $t->{hosta}{$frozen};
        kill "STOP", @pids;
        $t->wait_state("hostb", "live");
        sleep 0.3;
        kill "CONT", @pids;
        $t->wait_state("hosta", "fenced");
        $t->ended($t->{hosta}{qemu}, PATIENCE);
        pass("the old primary is fenced");
        one_after_the_other($t, "frozen $frozen");
        $t->stop;
    };
}

subtest "a backup that dies leaves the primary alone" => sub {
    for my $what ("qemu", "agent") {
        my $t = fresh();
        $t->protected("hosta", "hostb", 1);
        kill "KILL", $t->{hostb}{$what};
        my $a = $t->wait_state("hosta", "alone");
        is($a->{role}, "primary", "$what: it stays a primary");
        my @what = map { $_->{what} } @{ $a->{timeline} };
        like("@what", qr/^the channel was closed arbitration begun arb.* won/,
            "the timeline tells it from the loss on") if $what eq "agent";
        my $n = $t->outputs("hosta");
        goes_on($t, $n);
        pass("$what: the guest goes on");
        is(scalar $t->outputs("hostb"), 0, "$what: hostb never went live");
        $t->stop;
    }
};

subtest "a replica that does not move is given up" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    kill "STOP", $t->{hostb}{qemu};
    my $b = $t->wait_state("hostb", "ended");
    like($b->{reason}, qr/not moved/, "the backup says why");
    $t->wait_state("hosta", "alone");
    my $n = $t->outputs("hosta");
    goes_on($t, $n);
    pass("the guest goes on");
    $t->stop;
};

subtest "a full window stops the primary and drops nothing" => sub {
    my $t = Agents->new(qemu => ["payload=" . (512 << 10)]);
    $t->start;
    $t->protected("hosta", "hostb", 1);
    kill "STOP", $t->{hostb}{qemu};
    my $last = -1;
    $t->wait_for(9.5, "stop of the primary", sub {
        sleep 0.5;
        my $at = $t->status("hosta")->{position};
        my $same = $at == $last;
        $last = $at;
        return $same;
    });
    is($t->status("hostb")->{state}, "protected", "it waits for its replica");
    $t->wait_for(5, "lag", sub { $t->status("hostb")->{lag_ms} > 500 });
    pass("the lag is shown");
    kill "CONT", $t->{hostb}{qemu};
    $t->wait_for(PATIENCE, "movement",
        sub { $t->status("hosta")->{position} > $last + 20 });
    is($t->status("hosta")->{state}, "protected", "still protected");
    kill "KILL", @{ $t->{hosta} }{qw(agent qemu)};
    $t->wait_state("hostb", "live");
    one_after_the_other($t, "after a full window");
    $t->stop;
};

my %troubles = (
    "the backup's agent dies" => sub { kill "KILL", $_[0]{hostb}{agent} },
    "the replica's QEMU dies" => sub { kill "KILL", $_[0]{hostb}{qemu} },
    "unprotect" => sub {
        my $r = $_[0]->command("hosta", { do => "unprotect" });
        ok($r->{ok}, "unprotect: is accepted");
    },
);
subtest "trouble while cloning: the guest goes on alone" => sub {
    for my $trouble (sort keys %troubles) {
        my $t = fresh();
        kill "STOP", $t->{hostb}{qemu};    # the clone cannot end
        ok($t->protect("hosta", "hostb", 1)->{ok}, "$trouble: begun");
        $t->wait_for(PATIENCE, "relay",
            sub { $t->log_of("hosta") =~ /connecting -> cloning/ });
        sleep 0.2;
        is($t->status("hosta")->{state}, "cloning", "$trouble: cloning");
        $troubles{$trouble}->($t);
        my $a = $t->wait_state("hosta", "alone");
        note($a->{reason});
        kill "CONT", $t->{hostb}{qemu};
        my $n = $t->outputs("hosta");
        goes_on($t, $n);
        pass("$trouble: the guest runs");
        is(scalar $t->outputs("hostb"), 0, "$trouble: hostb makes no output");
        $t->stop;
    }
    my $t = fresh();
    kill "STOP", $t->{hostb}{qemu};
    $t->protect("hosta", "hostb", 1);
    $t->wait_for(PATIENCE, "relay",
        sub { $t->log_of("hosta") =~ /connecting -> cloning/ });
    kill "KILL", $t->{hosta}{qemu};
    $t->wait_state($_, "ended") for "hosta", "hostb";
    pass("the guest's QEMU dies: both end");
    $t->stop;
};

subtest "unprotect" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    ok($t->command("hosta", { do => "unprotect" })->{ok}, "is accepted");
    my $a = $t->wait_state("hosta", "alone");
    like($a->{reason}, qr/unprotected/, "the reason is shown");
    $t->wait_state("hostb", "ended");
    $t->ended($t->{hostb}{qemu}, PATIENCE);
    pass("the replica is gone");
    my $n = $t->outputs("hosta");
    goes_on($t, $n);
    pass("the guest goes on");
    $t->start_backup("hostb");
    $t->protected("hosta", "hostb", 2);
    pass("it can be protected again");
    $t->stop;
};

subtest "quit: agents end in good order, their guest runs on" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    $t->command("hosta", { do => "unprotect" });
    $t->wait_state("hosta", "alone");
    $t->wait_state("hostb", "ended");
    for my $h ("hosta", "hostb") {
        ok($t->command($h, { do => "quit" })->{ok}, "$h: quit is accepted");
        my $status = $t->ended($t->{$h}{agent}, PATIENCE);
        is($status, 0, "$h: status 0") or $t->tell;
    }
    my $n = $t->outputs("hosta");
    goes_on($t, $n);
    pass("the guest goes on");
    $t->start_agent("hosta");
    my $a = $t->wait_for(PATIENCE, "the guest", sub {
        my $s = $t->status("hosta");
        $s->{qemu_pid} && $s;
    });
    is("$a->{role} $a->{state} $a->{generation}", "primary alone 1",
        "a new agent finds it and its generation");
    delete $t->{hostb}{agent};
    $t->start_backup("hostb");
    my $r = $t->protect("hosta", "hostb", 1);
    like($r->{error}, qr/generation 1 was used/, "which is not used again");
    $t->stop;
};

subtest "a guest that powers off never goes live on the backup" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    kill "USR1", $t->{hosta}{qemu};
    $t->wait_state($_, "ended") for "hosta", "hostb";
    sleep 1.5;
    is(scalar $t->outputs("hostb"), 0, "hostb made no output");
    like($t->status($_)->{reason}, qr/powered off/, "$_ says why")
        for "hosta", "hostb";
    $t->stop;
};

subtest "the disk out of the backup's reach: it waits" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    kill "USR2", $t->{hostb}{qemu};
    kill "KILL", @{ $t->{hosta} }{qw(agent qemu)};
    $t->wait_state("hostb", "arbitrating");
    sleep 2;
    my $b = $t->status("hostb");
    is($b->{state}, "arbitrating", "it does not go live");
    like($b->{reason}, qr/disk unreachable/, "it says why");
    kill "USR2", $t->{hostb}{qemu};
    $t->wait_state("hostb", "live");
    pass("it goes live once the disk is there");
    $t->stop;
};

subtest "the arbiter out of reach: both wait, one goes on later" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    rename "$t->{dir}/arbiter", "$t->{dir}/away" or die;
    kill "KILL", $t->{hostb}{listener};
    kill "STOP", $t->{hosta}{agent};
    $t->wait_state("hostb", "arbitrating");
    kill "CONT", $t->{hosta}{agent};
    $t->wait_state("hosta", "arbitrating");
    for my $h ("hosta", "hostb") {
        my $s = $t->wait_for(PATIENCE, "reason", sub {
            my $s = $t->status($h);
            $s->{reason} =~ /arbiter/ && $s;
        });
        is($s->{state}, "arbitrating", "$h waits and says for what");
        note($s->{reason});
    }
    my $n = $t->outputs("hosta");
    sleep 0.3;
    is(scalar $t->outputs("hosta"), $n, "no output meanwhile");
    rename "$t->{dir}/away", "$t->{dir}/arbiter" or die;
    my ($a, $b);
    $t->wait_for(PATIENCE, "decision", sub {
        ($a, $b) = map { $t->status($_)->{state} } "hosta", "hostb";
        "$a $b" =~ /^(alone fenced|fenced live)$/;
    });
    pass("then exactly one of them goes on: hosta $a, hostb $b");
    $t->stop;
};

subtest "a slow arbiter and a full window: the clone is not lost" => sub {
    my $t = Agents->new(qemu => ["payload=" . (512 << 10)]);
    $t->start;
    # Both sides can prepare, but what free(1) is cannot be read.
    my $folder = "$t->{dir}/arbiter/" . Agents::UUID;
    mkdir $folder or die;
    mkdir "$folder/free.1" or die;
    $t->protect("hosta", "hostb", 1);
    $t->wait_for(PATIENCE, "the clone's end",
        sub { $t->log_of("hosta") =~ /draining -> freeing/ });
    kill "STOP", $t->{hostb}{qemu};
    sleep 2.5;     # longer than a peer may be silent
    rmdir "$folder/free.1" or die;
    $t->wait_for(PATIENCE, "PROTECTED",
        sub { $t->log_of("hosta") =~ /freeing -> announcing/ });
    kill "CONT", $t->{hostb}{qemu};
    $t->wait_state("hosta", "protected");
    $t->wait_state("hostb", "protected");
    pass("both sides are protected");
    $t->stop;
};

subtest "an arbiter out of reach costs the guest nothing" => sub {
    my $t = Agents->new;
    $t->start;
    rename "$t->{dir}/arbiter", "$t->{dir}/away" or die;
    $t->protect("hosta", "hostb", 1);
    for my $h ("hosta", "hostb") {
        $t->wait_for(PATIENCE, "$h says what it waits for",
            sub { $t->log_of($h) =~ /preparation .* is undecided: .*no mark/ });
    }
    my $n = $t->outputs("hosta");
    goes_on($t, $n);
    is($t->status("hosta")->{state}, "cloning", "not protected yet");
    rename "$t->{dir}/away", "$t->{dir}/arbiter" or die;
    $t->wait_state($_, "protected") for "hosta", "hostb";
    pass("protected once it is there");
    $t->stop;
};

subtest "protected again, and a second failover" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    kill "KILL", @{ $t->{hosta} }{qw(agent qemu)};
    delete $t->{hosta}{agent};
    $t->wait_state("hostb", "live");
    $t->start_backup("hosta");
    $t->protected("hostb", "hosta", 2);
    is($t->status("hostb")->{generation}, 2, "generation 2");
    my $n = $t->outputs("hosta");
    kill "KILL", @{ $t->{hostb} }{qw(agent qemu)};
    $t->wait_state("hosta", "live");
    goes_on($t, $n);
    my @a = $t->outputs("hosta");
    my @b = $t->outputs("hostb");
    ok($b[-1]{ns} < $a[$n]{ns}, "no output after the new primary's first");
    ok($b[-1]{counter} < $a[$n]{counter}, "nothing is forgotten");
    $t->stop;
};

# A QEMU whose guest has broken out does its worst: its agent still answers, and
# still kills it when the other side has won.
for my $attack ("bells", "flood", "log", "silence") {
    subtest "a hostile QEMU: $attack" => sub {
        my $t = Agents->new(qemu_hosta => ["hostile=$attack"]);
        $t->start;
        $t->protected("hosta", "hostb", 1);
        kill "USR2", $t->{hosta}{qemu};
        sleep 0.5;
        my $worst = 0;
        for (1 .. 10) {
            my $began = time;
            $t->status("hosta");
            $worst = max($worst, time - $began);
            sleep 0.05;
        }
        ok($worst < 1, sprintf "status within a second: %.3f s", $worst);
        if ($attack ne "flood") { # which its agent does not wait for
            $t->take(2);
            kill "KILL", $t->{hostb}{agent}, $t->{hostb}{qemu};
        }
        $t->ended($t->{hosta}{qemu}, PATIENCE);
        pass("it is killed");
        cmp_ok(-s $t->{hosta}{log}, "<", 300_000, "its agent's log stays small");
        if ($attack eq "flood") {
            $t->wait_state("hostb", "live");
            $t->stop;
            return;
        }
        $t->wait_state("hosta", "fenced");
        pass("and its agent says fenced");
        $t->stop;
    };
}

subtest "strangers do not fill the log" => sub {
    my $t = fresh();
    $t->command("hostb", { do => "backup", $t->pair_args(1),
            peer => { host => "hosta" } });
    my $vm = pack "H32", Agents::UUID =~ s/-//gr;
    my $preamble = pack "a4 v C C a16", "LSK1", 1, 1, 0, $vm;
    for my $said ("GET / HTTP/1.1\r\n" x 4, $preamble . "no TLS" x 20) {
        for (1 .. 150) {
            my $s = IO::Socket::INET->new(
                PeerAddr => "127.0.0.1:$t->{hostb}{port}") or die;
            $s->syswrite($said);
            $s->shutdown(1);
            1 while $s->sysread(my $buf, 4096);
        }
    }
    my $log = $t->log_of("hostb");
    my @lines = $log =~ /^.*(?:connection from|connection was).*$/mg;
    cmp_ok(@lines, ">", 10, "some are told: " . @lines);
    cmp_ok(@lines, "<=", 20, "few are");
    $t->stop;
};

subtest "wrong peers are refused, and the guest keeps running" => sub {
    # One of our CA with another name, and one with the right name of
    # another CA.
    for my $cert ("stranger", "hosta-of-other-ca") {
        my $name = $cert eq "stranger" ? "stranger" : "hosta";
        my $t = Agents->new(cert_hosta => $cert, name_hosta => $name);
        $t->start;
        my $r = $t->protect("hosta", "hostb", 1);
        if ($r->{ok}) {
            my $a = $t->wait_for(PATIENCE, "refusal", sub {
                my $s = $t->status("hosta");
                $s->{state} eq "alone" && $s;
            });
            like($a->{reason}, qr/\w/, "$cert: the reason is shown");
        } else {
            like($r->{error}, qr/hosta|certificate/, "$cert: $r->{error}");
        }
        is($t->status("hostb")->{reason}, "waiting for the primary",
            "$cert: hostb still waits for the right one");
        my $n = $t->outputs("hosta");
        goes_on($t, $n);
        pass("$cert: the guest runs");
        $t->stop;
    }
};

subtest "strangers on the port keep nobody out" => sub {
    my $t = fresh();
    ok($t->command("hostb", { do => "backup", $t->pair_args(1),
                peer => { host => "hosta" } })->{ok}, "hostb is ready");
    # Idle after the preamble; noise in place of TLS; a wrong VM.
    my $preamble = pack("VvCC", 0x314b534c, 1, 1, 0);
    my $vm = pack("H*", "11111111222233334444555555555555");
    my @s = map {
        my $s = IO::Socket::INET->new("127.0.0.1:$t->{hostb}{port}") or die;
        syswrite $s, $preamble . $vm . ($_ % 2 ? "x" x 1000 : "");
        $s;
    } 1 .. 12;
    sleep 0.3;
    my $r = $t->command("hosta", { do => "protect", $t->pair_args(1),
            peer => { host => "hostb", address => "127.0.0.1",
                port => $t->{hostb}{port} } });
    ok($r->{ok}, "hosta begins");
    $t->wait_state($_, "protected") for "hosta", "hostb";
    pass("the pair is protected");
    syswrite $_, "y" for @s;
    push @s, IO::Socket::INET->new("127.0.0.1:$t->{hostb}{port}");
    syswrite $s[-1], $preamble . $vm;
    sleep 0.5;
    is($t->status("hostb")->{state}, "protected", "and stays so");
    $t->stop;
};

subtest "a fence that this version does not have is not promised" => sub {
    my $t = fresh(failover => "fence=required\n");
    my $r = $t->protect("hosta", "hostb", 1);
    like($r->{error}, qr/fence=required.*fence=none/s, "it says what to do");
    is($t->status("hosta")->{fence}, "required", "the status shows it");
    $t->stop;
};

subtest "a backup host that is down" => sub {
    my $t = fresh();
    my $r = $t->command("hosta", { do => "protect", $t->pair_args(1),
            peer => { host => "hostb", address => "127.0.0.1",
                port => Agents::free_port() } });
    ok($r->{ok}, "is tried");
    my $a = $t->wait_for(PATIENCE, "refusal", sub {
        my $s = $t->status("hosta");
        $s->{state} eq "alone" && $s->{reason} && $s;
    });
    like($a->{reason}, qr/hostb.*refused/i, "and the reason is shown");
    note($a->{reason});
    $t->stop;
};

subtest "what the agent relies on is out of QEMU's reach" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    for my $host ($t->{hosta}, $t->{hostb}) {
        my @files = map { s,.*/,,r } glob "$host->{vm}/*";
        like("@files", qr/^(?:clone.sock )?vmlink.sock$/,
            "only sockets of QEMU in its folder on $host->{name}");
        is((stat $host->{own})[2] & 07777, 0700,
            "the agent's folder is its owner's only");
    }
    $t->stop;
};

subtest "after a clone that failed its generation is not used again" => sub {
    my $t = fresh();
    my $try = sub {
        my ($g, $port) = @_;
        return $t->command("hosta", { do => "protect", $t->pair_args($g),
            peer => { host => "hostb", address => "127.0.0.1",
                port => $port } });
    };
    ok($try->(1, 1)->{ok}, "a clone to a port where nobody listens");
    my $s = $t->wait_for(10, "it fails", sub {
        my $s = $t->status("hosta");
        $s->{state} eq "alone" && $s->{reason} && $s;
    });
    is($s->{tried}, 1, "the status says which generation was tried");
    my $r = $try->(1, 1);
    ok(!$r->{ok} && $r->{error} =~ /the next is 2/, "it is refused now");
    $t->protected("hosta", "hostb", 2);
    is($t->status("hosta")->{tried}, 2, "the next one is taken");
    $t->stop;
};

subtest "a refused protect leaves the pair's arbiter on file" => sub {
    my $t = fresh();
    $t->protected("hosta", "hostb", 1);
    my $read = sub {
        open my $f, "<", "$t->{hosta}{own}/session.json" or die "session: $!";
        return join "", <$f>;
    };
    my $before = $read->();
    my $r = $t->command("hosta", { do => "protect", $t->pair_args(2),
            arbiter => "file:/elsewhere", peer => { host => "hostb",
                address => "127.0.0.1", port => 1 } });
    ok(!$r->{ok} && $r->{error} =~ /protected already/, "refused")
        or diag(explain($r));
    is($read->(), $before, "an orphan would ask the arbiter of its pair");
    $t->stop;
};

subtest "bad input on agent.sock" => sub {
    my $t = fresh();
    my %bad = (
        "not JSON" => ["protect me", qr/JSON/i],
        "no command" => [{ go => 1 }, qr/"do"/],
        "an unknown command" => [{ do => "dance" }, qr/unknown.*dance/],
        "protect without a pair" => [{ do => "protect" }, qr/"pair"/],
        "a bad pair" => [{ do => "protect", $t->pair_args(1), pair => "xy" },
            qr/"pair".*hex/],
        "a pair with dashes" => [{ do => "protect", $t->pair_args(1),
                pair => "11111111-2222-3333-4444-555555555555" },
            qr/"pair".*hex/],
        "generation 0" => [{ do => "protect", $t->pair_args(0) },
            qr/"generation"/],
        "no peer" => [{ do => "protect", $t->pair_args(1) }, qr/peer/],
        "a bad port" => [{ do => "protect", $t->pair_args(1), peer =>
                    { host => "hostb", address => "127.0.0.1",
                        port => 70000 } }, qr/port/],
        "an arbiter that is none" => [{ do => "protect", $t->pair_args(1),
                arbiter => "ftp:/x", peer => { host => "hostb",
                    address => "127.0.0.1", port => 1 } }, qr/arbiter|ftp/],
        "backup on a running guest" => [{ do => "backup", $t->pair_args(1),
                peer => { host => "hostb" } }, qr/does not wait/],
        "a connection without one" => [{ do => "connection", kind => 1 },
            qr/descriptor/],
        "unprotect when alone" => [{ do => "unprotect" }, qr/not protected/],
    );
    for my $what (sort keys %bad) {
        my ($command, $why) = @{ $bad{$what} };
        my $r = $t->command("hosta", $command);
        ok($r && !$r->{ok} && $r->{error} =~ $why, "$what: refused")
            or diag(explain($r));
        note($r->{error});
    }
    is($t->status("hosta")->{state}, "alone", "nothing has changed");
    $t->protected("hosta", "hostb", 1);
    my $r = $t->command("hosta", { do => "quit" });
    ok(!$r->{ok}, "quit is refused while protected");
    $t->stop;
};

subtest "a VM that is no UUID, or not as libvirt writes it" => sub {
    for my $vm ("web1", "", "../../../../../../../../../../etc/passwd",
        "11111111222233334444555555555555",
        "ABCDEF01-2222-3333-4444-555555555555") {
        like(Agents::says("--vm", $vm), qr/--vm \Q$vm\E: not a UUID/,
            "'$vm' is refused");
    }
};

done_testing();
