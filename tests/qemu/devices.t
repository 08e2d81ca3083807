#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a guest may have to be protected: each device that is refused is named
# with what to do instead, and what a prepared domain has is accepted.
use strict;
use warnings;
no warnings 'qw';          # options have commas
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Pair qw(emulator build_agents folder);
use Test::More;
use Time::HiRes qw(sleep time);

my $qemu = emulator();
my $dir = folder();
my $pair = build_agents();

for my $name (qw(disk other)) {
    open my $f, '>', "$dir/$name.raw" or die "$dir/$name.raw: $!\n";
    truncate $f, 16 << 20;
}

my @started;
END { kill 'KILL', @started; waitpid $_, 0 for @started }

sub start {
    my ($name, @options) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', "$dir/$name.out";
        open STDERR, '>&', \*STDOUT;
        exec $qemu, '-nodefaults', '-no-user-config', qw(-display none -m 64),
            qw(-accel tcg -icount shift=1,sleep=on -rtc clock=vm), '-object',
            "lockstep,id=lockstep0,path=$dir/$name.sock", @options;
        die "$qemu: $!\n";
    }
    push @started, $pid;
    my $end = time + 20;
    sleep 0.05 until -S "$dir/$name.sock" || time > $end
        || waitpid($pid, 1) == $pid;
    return $pid;
}

# Try to clone; the reason why not, or '' when it was done.
sub refusal {
    my (@options) = @_;
    unlink glob "$dir/*.sock";
    my @pids = (start('a', @options), start('b', @options, '-incoming',
        'defer'));
    open my $c, '>', "$dir/commands" or die "$!\n";
    print $c "connect a $dir/a.sock\nconnect b $dir/b.sock\nclone a b 1\n",
        "wait a VL_CLONED 20\n";
    close $c;
    my $said = '';
    my $agent = open my $out, '-|', "exec $pair $dir < $dir/commands 2>&1";
    while (my $line = <$out>) {
        $said .= $line;
        last if $line =~ /^a VL_(?:CLONED|FAILED)/;
    }
    kill 'KILL', $agent;
    close $out;
    kill 'KILL', @pids;
    waitpid $_, 0 for @pids;
    @started = ();
    return '' if $said =~ /^a VL_CLONED/m;
    return $said =~ /^a VL_FAILED VL_CLONE: (.*)/m ? $1 : "said: $said";
}

my @pc = qw(-machine pc,hpet=off -global PIIX4_PM.disable_s3=1);
my @q35 = qw(-machine q35,hpet=off -global ICH9-LPC.disable_s3=1);
my @file = ('-blockdev', "driver=file,filename=$dir/disk.raw,node-name=s0,"
    . 'cache.direct=on', '-blockdev', 'driver=raw,file=s0,node-name=f0,'
    . 'cache.direct=on');
my @disk = (@file, '-device', 'virtio-blk-pci,drive=f0,id=vda');
my @cached = ('-blockdev', "driver=file,filename=$dir/disk.raw,node-name=f0",
    '-device', 'virtio-blk-pci,drive=f0,id=vda');
my @nic = qw(-netdev socket,id=n0,udp=127.0.0.1:9,localaddr=127.0.0.1:0
    -device virtio-net-pci,netdev=n0,id=net0);
my @serial = qw(-chardev null,id=c0 -device isa-serial,chardev=c0);
my @other = ('-drive', "if=none,id=d1,format=raw,cache=none,"
    . "file=$dir/other.raw");

is(refusal(@pc, @disk, @nic, @serial, qw(-device VGA)), '',
    'a prepared domain of type pc is accepted');
is(refusal(@pc, @disk, qw(-device ide-cd,id=cd0)), '',
    'an empty CD drive is accepted');
is(refusal(@q35, @disk, @nic, @serial), '',
    'a prepared domain of type q35 is accepted');

for (
    ['a NIC that is not virtio', qr/^device net1 \(e1000e\) .*: use virtio$/,
        qw(-device e1000e,id=net1)],
    ['a disk that is not virtio', qr/^device sda \(ide-hd\) .*: use virtio$/,
        @other, qw(-device ide-hd,drive=d1,id=sda)],
    ['a USB controller', qr/^device usb \(piix3-usb-uhci\) .*model='none'/,
        qw(-device piix3-usb-uhci,id=usb)],
    ['a balloon', qr/^device bal \(virtio-balloon-pci\) .*model='none'/,
        qw(-device virtio-balloon-pci,id=bal)],
    ['a guest agent', qr/^device vs \(virtio-serial-pci\) cannot be protected/,
        qw(-device virtio-serial-pci,id=vs)],
    ['a CD', qr/^drive cd0 \(ide-cd\) .*: eject its medium/,
        @other, qw(-device ide-cd,drive=d1,id=cd0)],
    ['a second vCPU', qr/it has 2 vCPUs/, qw(-smp 1,maxcpus=2)],
    ['a console with a monitor', qr/^console c1 .*a monitor shares it/,
        qw(-chardev null,id=c1,mux=on -mon chardev=c1
            -device isa-serial,chardev=c1)],
) {
    my ($what, $reason, @options) = @$_;
    like(refusal(@pc, @options), $reason, "$what is refused");
}
like(refusal(@pc, '-blockdev', 'driver=null-co,size=16777216,node-name=f0,'
        . 'cache.direct=on', '-device', 'virtio-blk-pci,drive=f0,id=vda'),
    qr/^disk vda .*: it is not an image file \(null-co\)$/,
    'a disk that is not an image file is refused');
like(refusal(@pc, @cached), qr/^disk vda .*use cache=none or directsync$/,
    'a disk in the host\'s page cache is refused');
like(refusal(@pc, @file, '-device',
    'virtio-blk-pci,drive=f0,id=vda,werror=stop'),
    qr/^disk vda .*error policy "report"$/,
    'a disk whose errors stop the guest is refused');
like(refusal(qw(-machine pc -global PIIX4_PM.disable_s3=1), @disk), qr/^device hpet .*turn it off/,
    'a HPET is refused');
like(refusal(@q35, qw(-device ide-cd,id=cd0)),
    qr/^device cd0 \(ide-cd\) .*use machine type pc$/,
    'a CD drive on AHCI is refused');
for (['pc', 'PIIX4_PM'], ['q35', 'ICH9-LPC']) {
    my ($machine, $device) = @$_;
    like(refusal('-machine', "$machine,hpet=off", @disk),
        qr/^device $device .*may suspend to RAM; turn that off .*start the/,
        "a $machine guest that may suspend to RAM is refused");
}

done_testing;
