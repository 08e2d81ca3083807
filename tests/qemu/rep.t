#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Repeated string instructions under icount (patches/fixes): what they count
# depends on the guest only, and MMIO inside them is exact. The guest is rep.S.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

my $here = dirname(abs_path($0));
my $top = $ENV{top_srcdir} || "$here/../..";
my $emulator = $ENV{LOCKSTEP_QEMU}
    || "$top/_build/root/libexec/lockstep/qemu-system-x86_64";
plan skip_all => "no emulator: run qemu/build" if !-x $emulator;

my $shift = 3;
my $dir = tempdir(CLEANUP => 1);
my $cc = $ENV{CC} || 'gcc';
system("$cc -m32 -c $here/rep.S -o $dir/rep.o"
    . " && ld -m elf_i386 -Ttext 0x100000 -o $dir/rep.elf $dir/rep.o") == 0
    or plan skip_all => 'cannot assemble 32-bit code';

# Run the guest; give its lines.
sub guest {
    my ($accel) = @_;
    my @command = ('timeout', 60, $emulator, qw(-machine pc -m 64 -nodefaults
        -display none -vga std -serial stdio -no-reboot
        -device isa-debug-exit -kernel), "$dir/rep.elf",
        '-accel', $accel, '-icount', "shift=$shift,sleep=off");
    open my $out, '-|', @command or die "$emulator: $!\n";
    my @lines = <$out>;
    chomp @lines;
    close $out;
    is($? >> 8, 1, "the guest came to its end ($accel)");
    return \@lines;
}

my $first = guest('tcg');
diag(join ' ', @$first);
is_deeply(guest('tcg'), $first, 'a second run gives the same lines');
is_deeply(guest('tcg,one-insn-per-tb=on'), $first,
    'and so does a run with one instruction in each block');

is(scalar @$first, 16, 'the guest printed all its lines');
my ($fill, $edi, $copy, $copied, $mmio_read, $clock, undef, $mmio_write,
    $compare, $left, $port, undef, $text, $loop, undef, $ticks) = @$first;

# Instructions between two readings of the clock.
sub count { return hex($_[0]) >> $shift }

cmp_ok(count($fill), '<', 150, 'filling 200,000 bytes is a few instructions');
is(hex $edi, 0x400000 + 200000, 'and fills all of them');
cmp_ok(count($copy), '<', 150, 'so is copying 64 KiB');
is($copied, '5a5a5a5a', 'and it arrives');
cmp_ok(count($mmio_read), '<', 150, 'so is reading 128 words of MMIO');
isnt(hex $clock, 0, 'in which the clock can be read');
cmp_ok(count($mmio_write), '<', 150, 'so is writing 16 KiB of MMIO');
is(hex $left, 4096 - 67, 'a comparison ends at the first equal word');
cmp_ok(count($port), '<', 150, 'so is reading 64 bytes from a port');
is($text, 'outs done', 'writing to a port keeps the order');
is(hex($ticks) > 99, 1, 'the timer interrupted throughout');
done_testing();
