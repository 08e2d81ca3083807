#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A console of a protected guest: nothing that is pasted is lost, however fast,
# with the UART's FIFO and without; and what a slow reader has left when the
# pair ends does not wait for the log of the next one. The guest is echo.S.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use IO::Select;
use IO::Socket::UNIX;
use Pair;
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = folder();
my $long = join '', map { sprintf "%07d\n", $_ } 1 .. 8192;    # 64 KiB
my ($generation, %connected) = 0;

# A QEMU whose second serial port is a socket.
sub start_echo {
    my ($name, @options) = @_;
    start($name, '-chardev',
        "socket,id=c1,path=$dir/$name.console,server=on,wait=off",
        '-device', 'isa-serial,chardev=c1', @options);
    return;
}

sub clone {
    my ($a, $b) = @_;
    $generation++;
    start_echo($b, '-incoming', 'defer');
    my @new = grep { !$connected{$_}++ } $a, $b;
    ok(agents((map { "connect $_ $dir/$_.sock" } @new), "clone $a $b $generation",
        "wait $a VL_CLONED", "wait $b VL_LOADED", "gate $a rule"), "$a is cloned into $b")
        or die "there is nothing to test\n";
    return;
}

sub console {
    my ($name) = @_;
    my $s = IO::Socket::UNIX->new(Peer => "$dir/$name.console")
        or die "$name.console: $!";
    $s->blocking(0);
    return $s;
}

# What the guest sent to its first serial port, after that it is ready.
sub echoed {
    my ($name) = @_;
    open my $f, '<', "$dir/$name.serial" or return '';
    local $/;
    return (<$f> // '') =~ s/^>//r;
}

sub is_ready {
    my ($name) = @_;
    my $end = time + PATIENCE;
    sleep 0.05 until -s "$dir/$name.serial" || time > $end;
    return;
}

# Paste a text, and read what comes back if that is wanted, until the guest has
# sent all of it to the first port, or sends nothing more. Returns what came.
sub paste {
    my ($name, $s, $text, $reads) = @_;
    my ($done, $back) = (0, '');
    my $before = my $seen = length echoed($name);
    my $still = time + 5;
    while (time < $still && $seen < $before + length $text) {
        my $n = syswrite $s, $text, 4096, $done;
        $done += $n // 0;
        1 while $reads && sysread $s, $back, 65536, length $back;
        agents('run 20');
        my $now = length echoed($name);
        $still = time + 5 if $now > $seen;
        $seen = $now;
    }
    return $back;
}

# Is it the text, and if not, where does it end to be?
sub is_text {
    my ($got, $text, $what) = @_;
    my $same = ($got ^ $text) =~ /^(\0*)/ ? length $1 : 0;
    return ok($got eq $text, $what) || diag length($got),
        " bytes of ", length($text), ", as pasted up to $same";
}

# ---- input -----------------------------------------------------------------

# FIFOs on and empty, an interrupt at 14 bytes; or none.
for my $fcr (0xc7, 0) {
    my ($a, $b) = $fcr ? qw(A B) : qw(C D);
    my $uart = $fcr ? 'a UART with a FIFO' : 'a UART without';
    my $text = $fcr ? $long : substr $long, 0, 8192;
    build('echo.S', "-DFCR=$fcr");
    start_echo($a);
    is_ready($a);
    clone($a, $b);
    my $s = console($a);
    my $back = paste($a, $s, $text, 1);
    is_text(echoed($a), $text, length($text) / 1024
        . " KiB pasted into $uart: nothing is lost");
    agents('run 300');
    1 while sysread $s, $back, 65536, length $back;
    is_text($back, $text, 'and all of it is echoed');
    is(length echoed($b), 0, 'the replica prints nothing');
    agents("kill $a", "kill $b");
    is(ended($_), 9, "($_ is killed)") for $a, $b;
}

# ---- output ----------------------------------------------------------------

# The reader sleeps while one pair ends and the next is made: its socket takes
# some lines, the rest waits.
my $text = substr $long, 0, 16384;
build('echo.S', '-DFCR=0xc7');
start_echo('E');
is_ready('E');
clone('E', 'F');
my $s = console('E');
paste('E', $s, $text, 0);
is_text(echoed('E'), $text, 'a guest prints while nobody reads');
agents('position');
my ($batches) = said() =~ /committed=(\d+)/;
ok(agents('kill F', 'goalone E', 'wait E VL_ALONE'),
    "its backup is lost at batch $batches: it goes alone");
clone('E', 'G');
my $back = paste('E', $s, "the end\n", 1);
my $until = time + 10;
while ($back !~ /the end/ && time < $until) {
    agents('run 50');
    1 while sysread $s, $back, 65536, length $back;
}
agents('position');
my ($now) = said() =~ /committed=(\d+)/;
cmp_ok($now, '<', $batches, "when a new pair has written $now batches");
is_text($back, "${text}the end\n", 'a reader that wakes gets all of it');

done_testing;
