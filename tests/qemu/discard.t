#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a go-live does again has a bound, also when the guest only discards, as
# fstrim does, and never flushes. The guest is writer.S with DISCARDS.
use strict;
use warnings;
use File::Basename qw(dirname);
use lib dirname(__FILE__);
use Pair qw(:DEFAULT build_with_c);
use Test::More;

# Not known durable: 64 MiB at 16 KiB, and what was under way.
my $bound = 4096 + 128;

my $dir = folder();
build_with_c('writer', '-DDISCARDS=64');
open my $f, '>', "$dir/image" or die "$dir/image: $!\n";
truncate $f, 16 << 20;
close $f;

my @disk = ('-blockdev', "driver=file,filename=$dir/image,node-name=n0,"
    . 'cache.direct=on,discard=unmap', '-blockdev', 'driver=raw,file=n0,'
    . 'node-name=n1,cache.direct=on,discard=unmap', '-device',
    'virtio-blk-pci,drive=n1,id=vda');
start('A', @disk);
start('B', @disk, '-incoming', 'defer');
ok(agents("connect A $dir/A.sock", "connect B $dir/B.sock", 'clone A B 1',
    'wait A VL_CLONED', 'wait B VL_LOADED', 'gate A rule'),
    'a guest that discards is protected');
agents('run 5000');
ok(agents('kill A', 'executed B', 'probe B', 'wait B VL_DISK', 'golive B',
    'wait B VL_LIVE'), 'its replica goes live');
ended('A');
my ($again) = said() =~ /VL_LIVE .*reissued=(\d+)/;
cmp_ok($again, '>', 64, 'and discards again what was not flushed,');
cmp_ok($again, '<=', $bound, 'which is not without bound');

done_testing;
