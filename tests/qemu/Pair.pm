# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMUs without agents: start guests that need no operating system, let
# vmlink-pair be the agents, see what the guests print.
package Pair;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Handle;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(PATIENCE build start ended lines counts counts_on steps_by_one
    agents said pid folder);
our @EXPORT_OK = qw(emulator build_agents build_with_c);

# Seconds for what comes unless something hangs.
use constant PATIENCE => 120;

my $here = dirname(abs_path(__FILE__));
my $top = abs_path($ENV{top_srcdir} || "$here/../..");
my $emulator = $ENV{LOCKSTEP_QEMU}
    || "$top/_build/root/libexec/lockstep/qemu-system-x86_64";
plan skip_all => "no emulator: run qemu/build" if !-x $emulator;

my $dir = tempdir('lockstep-pair-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $cc = $ENV{CC} || 'gcc';
my %pid;
my $guest;
END { local $?; kill 'KILL', values %pid; waitpid $_, 0 for values %pid }

sub folder { return $dir }
sub emulator { return $emulator }
sub pid { return $pid{ $_[0] } }

# Make a guest of a source beside this file; QEMUs that start now run it.
sub build {
    my ($source, @options) = @_;
    $guest = "$dir/$source.elf";
    system("$cc -m32 @options -c $here/$source -o $dir/guest.o"
        . " && ld -m elf_i386 -Ttext 0x100000 -o $guest $dir/guest.o") == 0
        or plan skip_all => 'cannot assemble 32-bit code';
}

# The same of an assembly file and a C file of that name; the guest's path.
sub build_with_c {
    my ($name, @options) = @_;
    my $bare = "$cc -m32 -O1 -ffreestanding -mgeneral-regs-only -fno-pic"
        . ' -fno-stack-protector -fcf-protection=none'
        . " -fno-asynchronous-unwind-tables @options";
    $guest = "$dir/$name.elf";
    system("$bare -c $here/$name.S -o $dir/s.o"
        . " && $bare -c $here/$name.c -o $dir/c.o && ld -m elf_i386"
        . " -Ttext 0x100000 -o $guest $dir/s.o $dir/c.o") == 0
        or plan skip_all => 'cannot compile 32-bit code';
    return $guest;
}

# ---- QEMUs ---------------------------------------------------------------

sub start {
    my ($name, @options) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', "$dir/$name.out";
        open STDERR, '>&', \*STDOUT;
        exec $emulator, qw(-m 32 -nodefaults -no-user-config -display none),
            '-machine', 'pc,hpet=off', qw(-accel tcg -rtc clock=vm),
            qw(-global PIIX4_PM.disable_s3=1),
            '-icount', 'shift=3,sleep=on', '-kernel', $guest,
            '-chardev', "file,id=c0,path=$dir/$name.serial",
            '-device', 'isa-serial,chardev=c0',
            '-qmp', "unix:$dir/$name.qmp,server=on,wait=off",
            '-object', "lockstep,id=l0,path=$dir/$name.sock", @options;
        die "$emulator: $!\n";
    }
    $pid{$name} = $pid;
}

# How QEMU ended: its status, or nothing when it does not.
sub ended {
    my ($name) = @_;
    my $end = time + PATIENCE;
    while (time < $end) {
        if (waitpid($pid{$name}, POSIX::WNOHANG()) == $pid{$name}) {
            delete $pid{$name};
            return $?;
        }
        sleep 0.02;
    }
    return;
}

# ---- what guests print ---------------------------------------------------

# The whole lines.
sub lines {
    my ($name) = @_;
    open my $f, '<', "$dir/$name.serial" or return ();
    return grep { /\n\z/ } <$f>;
}

# The counts that they begin with.
sub counts {
    return map { /^([0-9a-f]{8})\b/ ? hex $1 : () } lines($_[0]);
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

# ---- the agents ----------------------------------------------------------

my ($to, $from, $mark, $said) = (undef, undef, 0, '');

# Make the agents; the program's path.
sub build_agents {
    system("$cc -std=gnu11 -D_GNU_SOURCE -O1 -I$top/common"
        . " -I$top/logging-channel -o $dir/pair $here/vmlink-pair.c"
        . " $top/common/ring.c $top/logging-channel/wire.c") == 0
        or die "vmlink-pair does not compile\n";
    return "$dir/pair";
}

sub start_agents {
    my $program = build_agents();
    pipe(my $r, $to) or die;
    pipe($from, my $w) or die;
    my $pid = fork // die;
    if (!$pid) {
        open STDIN, '<&', $r;
        open STDOUT, '>&', $w;
        close $to;
        exec $program, $dir;
    }
    $pid{agents} = $pid;
    $to->autoflush(1);
    $SIG{PIPE} = 'IGNORE';
}

# Carry out commands; true when none failed, else the agents have ended and
# the next command starts others. said() has what came.
sub agents {
    start_agents() if !$to;
    print $to map { "$_\n" } @_, 'run 1', '# ' . ++$mark;
    $said = '';
    while (defined(my $line = <$from>)) {
        $said .= $line;
        return 1 if $line eq "> # $mark\n";
    }
    diag $said;
    close $from;
    $to = undef;
    waitpid delete $pid{agents}, 0;
    return 0;
}

sub said { return $said }

1;
