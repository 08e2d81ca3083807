#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# Every function that is seen outside its file is called from another file of
# a product program, or of QEMU's part: what only tests call is theirs to
# write, and what one file calls is static.

use strict;
use warnings;
use File::Find qw(find);
use File::Spec::Functions qw(rel2abs);
use Test::More tests => 3;

my ($src, $build) = map { rel2abs($ENV{$_} // '.') }
    qw(top_srcdir top_builddir);
chdir $build or BAIL_OUT("$build: $!");

# Global all the same, and why.
my %allowed = (
    agent_json_open => 'the clients of the test of its server',
    main => 'the C library calls it',
    ft_ring_claim_wake => 'one side of the race that the ring\'s test runs',
    lc_heartbeat_check => 'its golden bytes, and every bit of them wrong',
    lc_heartbeat_make => 'its golden bytes',
    tas_invariant => 'explorer, simulator and tests hold it at every step',
);

# The objects that the programs are linked of. Tests have their own copies of
# some, named tests_*.
my (@objects, %defined, %used);
find({ no_chdir => 1, wanted => sub {
    push @objects, $_ if m{/(?!tests_)[^/]+\.o\z} && has_source($_);
} }, grep { -d } qw(agent backup common control docs logging-channel
    primary role shared-disk));
# Not of a file that was moved or removed since the folder was first built.
sub has_source {
    my ($folder, $name) = $_[0] =~ m{(.*)/(.*)\.o\z};
    my $alone = $name =~ s/^[^-]*-//r;   # without automake's TARGET-
    return -e "$src/$folder/$name.c" || -e "$src/$folder/$alone.c";
}

for my $o (@objects) {
    open my $nm, '-|', 'nm', '-P', '-g', $o or BAIL_OUT("nm: $!");
    while (<$nm>) {
        my ($name, $type) = split;
        push @{ $defined{$name} }, $o if $type eq 'T';
        $used{$name}++ if $type eq 'U';
    }
}
cmp_ok(scalar @objects, '>', 50, 'the objects of the programs are found');

# QEMU compiles the ring and the wire, too.
my $qemu = '';
find({ no_chdir => 1, wanted => sub {
    return if !/\.[ch]\z/;
    open my $f, '<', $_ or BAIL_OUT("$_: $!");
    local $/;
    $qemu .= <$f>;
} }, "$src/qemu/overlay");
$used{$1}++ while $qemu =~ /\b((?:ft|lc)_\w+)\s*\(/g;

my @bad = grep { !$allowed{$_} && !$used{$_} } sort keys %defined;
is(join("\n", map { "$_ ($defined{$_}[0])" } @bad), '',
    'each global function is called from another file');
is(join("\n", grep { !$defined{$_} } sort keys %allowed), '',
    'each exception is one');
