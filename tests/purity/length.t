#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# A function is short enough to be read at once.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Functions qw(functions sources);

chdir($ENV{top_srcdir} // '.') or BAIL_OUT("top_srcdir: $!");

my $longest = 70;    # lines between its braces

# Longer all the same, and why.
my %allowed = map { $_ => 'one event after the other, each at its rule' }
    qw(pri_step bak_step);

# ("path: name() has N lines", ...)
sub too_long {
    my (%text) = @_;
    my @bad;
    for my $path (sort keys %text) {
        push @bad, map { "$path: $_->{name}() has $_->{lines} lines" }
            grep { $_->{lines} > $longest && !$allowed{$_->{name}} }
            functions($text{$path});
    }
    return @bad;
}

my $body = "    f();\n";
is_deeply([too_long('a.c' => "void g(void)\n{\n" . $body x 71 . "}\n")],
    ['a.c: g() has 71 lines'], 'a function that is too long is found');
is_deeply([too_long('a.c' => "void g(void)\n{\n" . $body x 70 . "}\n")],
    [], 'one that is just short enough is not');

my %text = sources(qw(common common/host logging-channel shared-disk role
    primary backup agent control/domain control/libvirt control/lockstepd
    control/cli));
is(join("\n", too_long(%text)), '', 'no function of ours is longer');
done_testing();
