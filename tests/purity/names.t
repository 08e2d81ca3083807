#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# Within a program no two functions share a name, static ones included: who
# looks for one finds one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Functions qw(functions sources);

chdir($ENV{top_srcdir} // '.') or BAIL_OUT("top_srcdir: $!");

my @host = qw(common common/host logging-channel shared-disk);
my %program = (
    'lockstep-agent' => [@host, qw(role primary backup agent)],
    lockstepd => [@host, map { "control/$_" } qw(domain libvirt lockstepd)],
    lockstep => [@host, map { "control/$_" } qw(domain cli)],
);

# { "name: file, file" => 1 } of the names that are taken twice.
sub clashes {
    my (%text) = @_;
    my %where;
    for my $path (sort keys %text) {
        push @{ $where{$_->{name}} }, $path for functions($text{$path});
    }
    return map { "$_: @{ $where{$_} }" }
        grep { @{ $where{$_} } > 1 } sort keys %where;
}

is_deeply([clashes('a.c' => "static int f(int x)\n{\n    return x;\n}\n",
            'b.c' => "/* f() { */\nstatic void\nf(void)\n{\n}\n")],
    ['f: a.c b.c'], 'a name that is taken twice is found');

for my $p (sort keys %program) {
    my %text = sources(@{ $program{$p} });
    my @bad = clashes(%text);
    is(join("\n", @bad), '', "$p: each function has a name of its own");
}
done_testing();
