#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The replay engine between two QEMUs, without agents: clone a running guest,
# replay it, kill the primary, go live, clone again; what the loss of an agent
# means; what the monitor refuses. The guest is counter.S, vmlink-pair is the
# agents.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Handle;
use IO::Select;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(_SC_CLK_TCK);
use Test::More;
use Time::HiRes qw(sleep time);

my $here = dirname(abs_path($0));
my $top = abs_path($ENV{top_srcdir} || "$here/../..");
my $emulator = $ENV{LOCKSTEP_QEMU}
    || "$top/_build/root/libexec/lockstep/qemu-system-x86_64";
plan skip_all => "no emulator: run qemu/build" if !-x $emulator;

my $dir = tempdir('lockstep-engine-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $cc = $ENV{CC} || 'gcc';
system("$cc -m32 -c $here/counter.S -o $dir/c.o"
    . " && ld -m elf_i386 -Ttext 0x100000 -o $dir/c.elf $dir/c.o") == 0
    or plan skip_all => 'cannot assemble 32-bit code';
system("$cc -std=gnu11 -D_GNU_SOURCE -O1 -I$top/common"
    . " -I$top/logging-channel -o $dir/pair $here/vmlink-pair.c"
    . " $top/common/ring.c $top/logging-channel/wire.c") == 0
    or die "vmlink-pair does not compile\n";

my %pid;
END { local $?; kill 'KILL', values %pid; waitpid $_, 0 for values %pid }

# ---- QEMUs ---------------------------------------------------------------

sub start {
    my ($name, @options) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', "$dir/$name.out";
        open STDERR, '>&', \*STDOUT;
        exec $emulator, qw(-m 32 -nodefaults -no-user-config -display none),
            '-machine', 'pc,hpet=off', qw(-accel tcg -rtc clock=vm),
            '-icount', 'shift=3,sleep=on',
            '-kernel', "$dir/c.elf",
            '-chardev', "file,id=c0,path=$dir/$name.serial",
            '-device', 'isa-serial,chardev=c0',
            '-qmp', "unix:$dir/$name.qmp,server=on,wait=off",
            '-object', "lockstep,id=l0,path=$dir/$name.sock", @options;
        die "$emulator: $!\n";
    }
    $pid{$name} = $pid;
}

# Seconds for what comes unless something hangs.
use constant PATIENCE => 120;

# How QEMU ended: its status, or nothing when it does not.
sub ended {
    my ($name) = @_;
    my $end = time + PATIENCE;
    while (time < $end) {
        return $? if waitpid($pid{$name}, POSIX::WNOHANG()) == $pid{$name};
        sleep 0.02;
    }
    return;
}

sub counts {
    my ($name) = @_;
    open my $f, '<', "$dir/$name.serial" or return ();
    return map { /^([0-9a-f]{8})$/ ? hex $1 : () } <$f>;
}

# Wait until the guest on $name has counted for $n more lines.
sub counts_on {
    my ($name, $n) = @_;
    my $from = () = counts($name);
    my $end = time + PATIENCE;
    while (time < $end) {
        my $now = () = counts($name);
        return 1 if $now >= $from + $n;
        sleep 0.05;
    }
    return 0;
}

sub steps_by_one {
    my @c = @_;
    for my $i (1 .. $#c) {
        return 0 if $c[$i] != $c[$i - 1] + 1;
    }
    return 1;
}

sub qmp {
    my ($name, $command) = @_;
    my $s = IO::Socket::UNIX->new(Peer => "$dir/$name.qmp") or die "qmp: $!";
    my $answer;
    for my $c ('qmp_capabilities', $command) {
        print $s encode_json({ execute => $c }), "\n";
        while (defined(my $line = <$s>)) {
            my $got = decode_json($line);
            $answer = $got, last if exists $got->{return} || $got->{error};
        }
    }
    return $answer;
}

sub cpu_ticks {
    my ($name) = @_;
    open my $f, '<', "/proc/$pid{$name}/stat" or return 0;
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

# ---- the agents ----------------------------------------------------------

my ($to, $from);
pipe(my $r1, $to) or die;
pipe($from, my $w2) or die;
my $agents = fork // die;
if (!$agents) {
    open STDIN, '<&', $r1;
    open STDOUT, '>&', $w2;
    close $to;
    exec "$dir/pair", $dir;
}
$pid{agents} = $agents;
close $r1;
close $w2;
$to->autoflush(1);
$SIG{PIPE} = 'IGNORE';
my $mark = 0;
my $said = '';

# Carry out commands; true when none failed. $said has what came.
sub agents {
    print $to map { "$_\n" } @_, 'run 1', '# ' . ++$mark;
    $said = '';
    while (defined(my $line = <$from>)) {
        $said .= $line;
        return 1 if $line eq "> # $mark\n";
    }
    diag $said;
    return 0;
}

# ---- a chain of three failovers ------------------------------------------

start('A');
start($_, '-incoming', 'defer') for qw(B C D);
ok(counts_on('A', 50), 'a guest counts, unprotected');

my ($a, $generation) = ('A', 0);
ok(agents("connect A $dir/A.sock"), 'its QEMU greets');
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
like($said, qr/state=1/, '(it said that it records)');
ok(counts_on('D', 50), 'then it counts on');
ok(steps_by_one(counts('D')), 'and has lost nothing');

start('F', '-incoming', 'defer');
ok(agents("connect F $dir/F.sock", 'stream 20000', 'clone D F 5',
    'run 50', 'kill F', 'stream 0', 'wait D VL_FAILED'), 'a clone whose destination dies, fails');
ok(counts_on('D', 50), 'and the guest does not care');
ok(agents('fence D', 'run 100'), 'D is fenced');
is(ended('D'), 3 << 8, 'and ends at once');

done_testing;
