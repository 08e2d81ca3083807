#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The image of a replica's disk: a go-live needs no path to it, for libvirt on
# the dead primary's host may have taken it away; and VL_PROBE says whether it
# can be written.  The guest is counter.S, vmlink-pair is the agents.
use strict;
use warnings;
use Errno qw(EOPNOTSUPP EROFS);
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Pair;
use Test::More;

build('counter.S');
my $dir = folder();
my $image = "$dir/image";

# As libvirt has it, whose storage nodes are auto-read-only.
my @disk = ('-blockdev', "file,node-name=f0,filename=$image,"
        . 'auto-read-only=on,cache.direct=on',
    '-blockdev', 'raw,node-name=d0,file=f0,cache.direct=on',
    '-device', 'virtio-blk-pci,drive=d0,id=vda,werror=report,rerror=report');

# A library whose fallocate() fails with the number in a file, if there is one.
sub build_refusal {
    open my $c, '>', "$dir/refuse.c" or die "$dir/refuse.c: $!";
    print $c <<'END';
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fallocate64(int fd, int mode, off64_t offset, off64_t n)
{
    FILE *f = fopen(getenv("REFUSE"), "r");
    int number = 0;

    if (f) {
        fscanf(f, "%d", &number);
        fclose(f);
        errno = number;
        return -1;
    }
    return syscall(SYS_fallocate, fd, mode, offset, n);
}
END
    close $c;
    my $cc = $ENV{CC} || 'gcc';
    system("$cc -shared -fPIC -w -o $dir/refuse.so $dir/refuse.c") == 0
        or die "the library does not compile\n";
    return;
}

sub refuse {
    my ($number) = @_;
    open my $f, '>', "$dir/refuse" or die "$dir/refuse: $!";
    print $f $number;
    close $f;
    return;
}

# What a QEMU has open of the image: 'r' or 'w' for each descriptor.
sub opened {
    my ($name) = @_;
    my @how;
    for my $fd (glob '/proc/' . pid($name) . '/fd/*') {
        next if (readlink $fd // '') !~ /^\Q$image\E\b/;
        open my $info, '<', $fd =~ s{/fd/}{/fdinfo/}r or next;
        my ($flags) = join('', <$info>) =~ /^flags:\s*(\d+)/m;
        push @how, oct($flags) & 3 ? 'w' : 'r';
    }
    return "@how";
}

sub probed {
    agents('probe B', 'wait B VL_DISK') or return 'no answer';
    return said() =~ /VL_DISK .*?(ok=\d.*)/ ? $1 : said();
}

sub content {
    open my $f, '<:raw', $_[0] or die "$_[0]: $!";
    local $/;
    return <$f>;
}

build_refusal();
my $data = join '', map { chr rand 256 } 1 .. 1 << 16;
open my $new, '>:raw', $image or die "$image: $!";
print $new $data;
close $new or die "$image: $!";
start('A', @disk);
{
    local $ENV{LD_PRELOAD} = "$dir/refuse.so";
    local $ENV{REFUSE} = "$dir/refuse";
    start('B', @disk, '-incoming', 'defer');
}
ok(counts_on('A', 50), 'a guest with a disk counts');
ok(agents("connect A $dir/A.sock", "connect B $dir/B.sock", 'clone A B 1',
    'wait A VL_CLONED', 'wait B VL_LOADED', 'gate A rule'), 'and is cloned');
is(opened('B'), 'w', 'the replica has its image open for writing');

like(probed(), qr/^ok=1/, 'a disk that can be written is proved');
refuse(0 + EROFS);
like(probed(), qr/^ok=0 disk vda cannot be written: Read-only/,
    'one that cannot be is not');
refuse(0 + EOPNOTSUPP);
like(probed(), qr/^ok=1/, 'where the storage cannot say, it is opened again');
ok(content($image) eq $data, 'and the image is as it was');

rename $image, "$image-elsewhere" or die "$image: $!";
like(probed(), qr/^ok=1/, 'the path leads nowhere any more: no matter');
agents('kill A');
ended('A');
ok(agents('executed B', 'probe B', 'wait B VL_DISK', 'golive B',
    'wait B VL_LIVE'), 'the primary is killed: the replica goes live');
ok(counts_on('B', 50), 'and its guest counts on');

done_testing;
