#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A primary stalls after its gate let a disk write pass and before a worker
# thread makes the system call, for longer than its lease. Nothing of it may
# be written when it wakes, until the lease is back; and then all of it. The
# one worker thread is stopped with ptrace, so the write is late for certain.
# Also: what becomes of such a write when its QEMU goes alone, or is fenced
# after the replica went live; and I/O errors: a primary's are replayed, and a
# replica that cannot write again what was not durable admits it.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use IO::Handle;
use JSON::PP;
use Pair qw(emulator build_agents build_with_c folder);
use Test::More;
use Time::HiRes qw(sleep time);

my $emulator = emulator();

# Of x86-64, as the emulator is.
my ($PTRACE, $PRCTL, $FUTEX) = (101, 157, 202);
my ($SEIZE, $INTERRUPT, $DETACH) = (0x4206, 0x4207, 17);
my $PDEATHSIG = 1;
my $WALL = 0x40000000;

my $BLOCK = 4096;
my @KIND = ('a write', 'a write of zeroes', 'an unmapping write of zeroes',
    'a discard');
my ($OLD, $NEWER) = map { chr($_) x $BLOCK } 0xff, 0x55;

my $dir = folder();
my $guest = build_with_c('writer');
my $pair = build_agents();

my %pid;
END {
    local $?;
    kill 'KILL', values %pid;
    1 while waitpid(-1, $WALL) > 0;     # children and what ptrace stopped
}
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';

# Run a program that does not outlive this test.
sub run {
    my ($name, $set_up, @command) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        syscall $PRCTL, $PDEATHSIG, 9;
        $set_up->();
        exec @command;
        die "$command[0]: $!\n";
    }
    $pid{$name} = $pid;
    return $pid;
}

sub end {
    my ($name) = @_;
    my $pid = delete $pid{$name} or return;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

sub slurp {
    open my $f, '<', $_[0] or return '';
    local $/;
    return <$f> // '';
}

# ---- the image -----------------------------------------------------------

sub open_image {
    open my $f, '+<', "$dir/image" or die "$dir/image: $!\n";
    return $f;
}

sub new_image {
    open my $f, '>', "$dir/image" or die "$dir/image: $!\n";
    print $f $OLD x 4096;
    $f->sync;
    close $f or die "$dir/image: $!\n";
    return;
}

# The four blocks of a round.
sub blocks {
    my ($round) = @_;
    my $f = open_image();
    seek $f, 4 * $round * $BLOCK, 0;
    read $f, my $bytes, 4 * $BLOCK;
    return unpack "(a$BLOCK)4", $bytes;
}

# What the guest saw of a round's read and flush.
sub errors {
    my ($round) = @_;
    return join ' ', unpack 'CC', (blocks($round + 1))[0];
}

# Which kinds of request of a round have been done?
sub done {
    my @block = blocks(@_);
    return map { $block[$_] ne $OLD ? $KIND[$_] : () } 0 .. 3;
}

# Does anybody hold the lock of whoever may write to the image? QEMU's are OFD
# locks: a byte for each permission that is used, from 100.
sub is_locked {
    my ($GETLK, $WRLCK, $UNLCK, $BYTE) = (36, 1, 2, 101);
    my $lock = pack 's s x4 q q i x4', $WRLCK, 0, $BYTE, 1, 0;
    my $image = open_image();
    fcntl $image, $GETLK, $lock or die "F_OFD_GETLK: $!\n";
    return (unpack 's', $lock)[0] != $UNLCK;
}

# ---- QEMUs ---------------------------------------------------------------

# aio: how the image is to be written. fault: an I/O error to have.
sub start {
    my ($name, $how, @options) = @_;
    my @node = ({ driver => 'file', filename => "$dir/image",
        aio => $how->{aio} });
    push @node, { driver => 'blkdebug', image => 'n0', 'inject-error' =>
        [{ event => 'none', errno => 5, %{ $how->{fault} } }] }
        if $how->{fault};
    push @node, { driver => 'raw', file => "n$#node" };
    my @blockdev = map { ('-blockdev', encode_json({ %{ $node[$_] },
        'node-name' => "n$_", discard => 'unmap',
        cache => { direct => JSON::PP::true } })) } 0 .. $#node;
    return run($name, sub {
        open STDOUT, '>', "$dir/$name.out";
        open STDERR, '>&', \*STDOUT;
    }, $emulator, qw(-m 32 -nodefaults -no-user-config -display none),
        '-name', "$name,debug-threads=on", '-machine', 'pc,hpet=off',
        qw(-accel tcg -rtc clock=vm -global PIIX4_PM.disable_s3=1),
        '-icount', 'shift=3,sleep=on',
        '-kernel', $guest, @blockdev,
        '-device', "virtio-blk-pci,drive=n$#node,id=vda",
        '-object', 'main-loop,id=m0,thread-pool-min=1,thread-pool-max=1',
        '-object', "lockstep,id=l0,path=$dir/$name.sock,"
            . "trace=$dir/$name.trace", @options);
}

# How many rounds' writes, and the flush after them, has the gate let pass?
# Not a whole number in the midst of a round.
sub passed {
    my ($name) = @_;
    my @length = slurp("$dir/$name.trace") =~ / write .* (\d+)$/mg;
    my $writes = grep { $_ > 0 } @length;
    return $writes % 4 || $length[-1] > 0 ? 0.5 : $writes / 4;
}

sub worker {
    my ($name) = @_;
    for my $task (glob "/proc/$pid{$name}/task/*") {
        return 0 + ($task =~ /(\d+)\z/)[0] if slurp("$task/comm") eq "worker\n";
    }
    die "$name has no worker thread\n";
}

# It does what it has got before it waits for more.
sub waits_for_work {
    my ($tid) = @_;
    return slurp("/proc/$tid/syscall") =~ /^$FUTEX /;
}

sub stop_thread {
    my ($tid) = @_;
    return syscall($PTRACE, $SEIZE, $tid, 0, 0) == 0
        && syscall($PTRACE, $INTERRUPT, $tid, 0, 0) == 0
        && waitpid($tid, $WALL) == $tid;
}

sub wake {
    my ($tid) = @_;
    syscall($PTRACE, $DETACH, $tid, 0, 0) == 0 or die "ptrace $tid: $!\n";
    return;
}

my $probe = run('probe', sub { }, 'sleep', 60);
plan skip_all => "threads cannot be stopped: ptrace: $!"
    if !stop_thread($probe);
end('probe');

# ---- the agents ----------------------------------------------------------

pipe(my $r1, my $to) or die;
pipe(my $from, my $w2) or die;
run('agents', sub {
    open STDIN, '<&', $r1;
    open STDOUT, '>&', $w2;
    close $to;
}, $pair, $dir);
close $r1;
close $w2;
$to->autoflush(1);
my $mark = 0;

my $said;

# Carry out commands; true when none failed. $said has what came.
sub agents {
    print $to map { "$_\n" } @_, '# ' . ++$mark;
    $said = '';
    while (defined(my $line = <$from>)) {
        $said .= $line;
        return 1 if $line eq "> # $mark\n";
    }
    diag $said;
    return 0;
}

# Let the agents work until something is so.
sub until_so {
    my ($what) = @_;
    my $end = time + 60;
    while (!$what->()) {
        return 0 if time > $end;
        agents('run 50');
    }
    return 1;
}

# ---- a late write ----------------------------------------------------------

# A guest that writes at $a, and its replica at $b.
sub pair {
    my ($a, $b, $generation, $aio, $fault_a, $fault_b) = @_;
    new_image();
    start($a, { aio => $aio, fault => $fault_a });
    start($b, { aio => $aio, fault => $fault_b }, '-incoming', 'defer');
    ok(agents("connect $a $dir/$a.sock", "connect $b $dir/$b.sock")
        && until_so(sub { done(3) == 4 }), "aio=$aio: a guest writes")
        or die "there is nothing to test\n";
    ok(agents('hold off', "clone $a $b $generation", "wait $a VL_CLONED",
        "wait $b VL_LOADED", "gate $a rule"), 'and is protected');
    my $written = grep { done($_) } 1 .. 1000;
    ok(until_so(sub { done($written + 3) == 4 }), 'and writes on');
    return;
}

# Stop the worker thread of $a, let requests pass the gate, and shut it.
# Returns the round that is late, and the thread.
sub late {
    my ($a, $open, @shut) = @_;
    my $worker = worker($a);
    my $round;
    agents(@shut);
    until_so(sub {
        $round = passed($a) + 1;
        agents($open, 'run 100', @shut) if $round != int $round;
        return $round == int $round && done($round - 1) == 4
            && waits_for_work($worker);
    }) or die "$a does not come to rest\n";
    stop_thread($worker) or die "ptrace $worker: $!\n";
    agents($open);
    ok(until_so(sub { passed($a) == $round }),
        "the gate lets a round's requests pass,");
    is(join(', ', done($round)), '', 'which wait for the worker thread');
    agents(@shut);
    return ($round, $worker);
}

sub is_not_written {
    my ($round, $when) = @_;
    agents('run 500');
    is(join(', ', done($round)), '', "$when: nothing is written");
    return;
}

sub is_written {
    my ($round, $when) = @_;
    until_so(sub { done($round) == 4 });
    is(join(', ', done($round)), join(', ', @KIND), "$when: all is written");
    ok(until_so(sub { done($round + 2) == 4 }), 'and the guest writes on');
    return;
}

my @lease = ('hold off', 'hold on', 'run 1300');    # it has 1000 ms

pair('A', 'B', 1, 'threads', undef,
    { iotype => 'write', once => JSON::PP::true });
my ($round, $worker) = late('A', @lease);
wake($worker);
is_not_written($round, 'it goes on when the lease is over');
agents('hold off');
is_written($round, 'the lease is renewed');

($round, $worker) = late('A', @lease);
ok(agents('executed B', 'probe B', 'wait B VL_DISK', 'golive B',
    'wait B VL_LIVE'), 'the replica goes live meanwhile');
is_written($round, 'with the requests that are late');
is(errors($round + 1), '0 0', 'a write that was not durable failed when it was'
    . ' made again, and was tried once more');
{
    my $image = open_image();
    seek $image, 4 * $round * $BLOCK, 0;
    print $image $NEWER x 4;
    close $image or die "$dir/image: $!\n";
}
wake($worker);
agents('run 500');
my @newer = ($NEWER) x 4;
ok(eq_array([blocks($round)], \@newer),
    'the old primary wakes: newer data is not overwritten');
agents('fence A', 'run 100');
is(waitpid(delete $pid{A}, 0) && $?, 3 << 8, 'it is fenced, and ends');
ok(eq_array([blocks($round)], \@newer), 'without having written');
my $fenced = time;
ok(until_so(sub { is_locked() || time > $fenced + 5 }) && is_locked(),
    'the image is locked again within 5 s');
end('B');

# What cannot be written again.
pair('D', 'E', 2, 'threads', undef, { iotype => 'write-zeroes' });
($round, $worker) = late('D', @lease);
ok(agents('executed E', 'probe E', 'wait E VL_DISK', 'golive E',
    'wait E VL_LIVE'), 'the replica goes live, whose disk fails');
wake($worker);
end('D');
ok(until_so(sub { (done($round + 3))[0] }), 'and its guest writes on');
is(errors($round + 1), '0 1', 'a write that was not durable could not be made'
    . ' again: flushes fail');
start('C', { aio => 'threads' }, '-incoming', 'defer');
ok(agents("connect C $dir/C.sock", 'clone E C 3', 'wait E VL_FAILED'),
    'such a guest cannot be protected');
like($said, qr/VL_CLONE: disk vda .*: it lost writes/, 'and it is said why');
end($_) for qw(E C);

# What io= in a domain may say.
my $generation = 3;
for my $aio (qw(native io_uring)) {
    $generation++;
    my ($a, $b) = map { "$_-$aio" } 'A', 'B';
    pair($a, $b, $generation, $aio, { iotype => 'read', sector => 0 });
    ($round, $worker) = late($a, "gate $a rule", "gate $a shut", 'run 200');
    wake($worker);
    is_not_written($round, 'it goes on when the gate is shut');
    is(errors($round - 2), '1 0', "the guest's reads fail");
    ok(agents("executed $b"), 'which the replica repeats');
    agents("goalone $a");
    is_written($round, 'the guest goes on alone');
    end($_) for $a, $b;
}

done_testing;
