#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The replay engine between two QEMUs, without agents: clone a running guest,
# replay it, kill the primary, go live, clone again; what the loss of an agent
# means; what the monitor refuses. The guest is counter.S, vmlink-pair is the
# agents.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use IO::Socket::UNIX;
use JSON::PP;
use Pair;
use POSIX qw(_SC_CLK_TCK);
use Test::More;
use Time::HiRes qw(sleep time);

build('counter.S');

sub qmp {
    my ($name, $command, $arguments) = @_;
    my $s = IO::Socket::UNIX->new(Peer => folder() . "/$name.qmp")
        or die "qmp: $!";
    my $answer;
    for my $c (['qmp_capabilities', {}], [$command, $arguments || {}]) {
        print $s encode_json({ execute => $c->[0], arguments => $c->[1] }),
            "\n";
        while (defined(my $line = <$s>)) {
            my $got = decode_json($line);
            $answer = $got, last if exists $got->{return} || $got->{error};
        }
    }
    return $answer;
}

# What the human monitor prints.
sub hmp {
    my ($name, $line) = @_;
    return qmp($name, 'human-monitor-command', { 'command-line' => $line })
        ->{return};
}

sub installed_id {
    my $path = Pair::emulator() . '.build-id';
    open my $f, '<', $path or return "$path: $!";
    local $/;
    return <$f>;
}

# The phases that a QEMU says it went through, each where it is first reached
# and the last one; or the move that does not begin where the one before ended.
sub phases {
    my ($name) = @_;
    my ($at, @phases, %seen) = 'alone';
    open my $f, '<', folder() . "/$name.out" or die "$name.out: $!";
    while (<$f>) {
        my ($from, $to) = /lockstep_move (.*) -> (.*), [\w ]+, batch \d+$/
            or next;
        return "from $from, but it was $at" if $from ne $at;
        push @phases, $from if !$seen{$from}++;
        $at = $to;
    }
    return join ', ', @phases, $at;
}

sub cpu_ticks {
    my ($name) = @_;
    open my $f, '<', '/proc/' . pid($name) . '/stat' or return 0;
    my @w = split ' ', (<$f> =~ s/.*\) //r);
    return $w[11] + $w[12];
}

# Whether COND holds at some time.
sub some_time {
    my ($cond) = @_;
    my $end = time + PATIENCE;
    while (time < $end) {
        return 1 if $cond->();
    }
    return 0;
}

# 4 MiB that the guest gets into its memory: no clone of it fits into a socket's
# buffer, where the end of a destination that dies slowly would not be seen.
sub random_file {
    my $path = folder() . '/random';
    open my $from, '<:raw', '/dev/urandom' or die "/dev/urandom: $!";
    open my $to, '>:raw', $path or die "$path: $!";
    print $to do { local $/ = \(4 << 20); scalar <$from> };
    close $to or die "$path: $!";
    return $path;
}

# ---- a chain of three failovers ------------------------------------------

my $dir = folder();
start('A', '-initrd', random_file());
start($_, '-incoming', 'defer', '-trace', 'lockstep_move') for qw(B C D);
ok(counts_on('A', 50), 'a guest counts, unprotected');
like(hmp('A', 'xp /1wx 0x100000'), qr/0x1badb002/, 'its memory can be read');

my ($a, $generation) = ('A', 0);
ok(agents("connect A $dir/A.sock"), 'its QEMU greets');
my ($greeting) = said() =~ /^A VL_HELLO .*\bqemu=(.*\n)/m;
is($greeting, installed_id(), 'with the build id that is installed beside it');
for my $b (qw(B C D)) {
    $generation++;
    ok(agents("connect $b $dir/$b.sock", "clone $a $b $generation",
        "wait $a VL_CLONED", "wait $b VL_LOADED", "gate $a rule"),
        "$a is cloned into $b, generation $generation");
    ok(counts_on($a, 100), "the guest goes on at $a");
    is(scalar(counts($b)), 0, "nothing leaves the replica $b");
    is(qmp($b, 'query-status')->{return}{status}, 'paused',
        "$b looks paused from outside");
    like(qmp($b, 'cont')->{error}{desc}, qr/refused while protected/,
        'and refuses to be continued');
    like(qmp($a, 'stop')->{error}{desc}, qr/refused while protected/,
        'its primary refuses to be stopped');
    for my $dump ('xp /1bx 0xfee00020', 'xp/1bx 0xfee00020', ' x /1bx 0x400000')
    {
        like(hmp($_, $dump), qr/^refused .*: .* may be a device's register/,
            "$_ refuses '$dump'") for $a, $b;
    }
    like(hmp($a, 'info registers'), qr/EAX=/, "$a answers what is harmless");
    ok(agents('cut +1', 'run 200', "executed $b"), 'a starved replica');
    ok(some_time(sub {
        my $ticks = cpu_ticks($b);
        agents('run 1000');
        return cpu_ticks($b) - $ticks <= 0.1 * POSIX::sysconf(_SC_CLK_TCK);
    }), 'takes no processor time');
    ok(agents('cut 0', 'run 300', "executed $b"), 'and catches up');

    agents("kill $a");
    ended($a);
    ok(agents("executed $b", "probe $b", "wait $b VL_DISK", "golive $b",
        "wait $b VL_LIVE"), "$a is killed: $b goes live");
    ok(counts_on($b, 50), "and its guest counts on");
    my ($last, $first) = ((counts($a))[-1], (counts($b))[0]);
    cmp_ok($first, '>', $last - 5, 'where the primary was,');
    # What the agents had not acknowledged when it died was not seen outside.
    cmp_ok($first, '<', $last + 500, "(from $last to $first)");
    ok(steps_by_one(counts($b)), 'one by one');
    is(qmp($b, 'query-status')->{return}{status}, 'running',
        "$b runs for all to see");
    is(phases($b), 'alone, replay: loading, replay: ready, replay: starved,'
        . ' alone', 'and says through which phases it went');
    $a = $b;
}

# ---- the loss of an agent, power-off --------------------------------------

start('E', '-incoming', 'defer');
ok(agents("connect E $dir/E.sock", 'clone D E 4', 'wait D VL_CLONED',
    'wait E VL_LOADED', 'gate D rule'), 'D is cloned into E');
ok(agents('drop E', 'run 100'), 'E loses its agent');
is(ended('E'), 1 << 8, 'and ends');
ok(agents('drop D'), 'D loses its agent');
ok(some_time(sub {
    my $stopped = () = counts('D');
    sleep 1;
    return $stopped == (() = counts('D'));
}), 'and its guest stops');
ok(agents("connect D $dir/D.sock", 'goalone D', 'wait D VL_ALONE'),
    'until another agent says to go alone');
like(said(), qr/state=1/, '(it said that it records)');
ok(counts_on('D', 50), 'then it counts on');
ok(steps_by_one(counts('D')), 'and has lost nothing');

start('F', '-incoming', 'defer');
ok(agents("connect F $dir/F.sock", 'stream 20000', 'clone D F 5',
    'run 50', 'kill F', 'stream 0', 'wait D VL_FAILED'),
    'a clone whose destination dies, fails');
ok(counts_on('D', 50), 'and the guest does not care');
ok(agents('fence D', 'run 100'), 'D is fenced');
is(ended('D'), 3 << 8, 'and ends at once');

done_testing;
