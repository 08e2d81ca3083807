#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# I1, I2, ... are listed in docs/testing.md; each place that the list names
# says that it shows that invariant, and no other number is used.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report qw(done report slurp);

chdir($ENV{top_srcdir} // '.') or die "top_srcdir: $!";

# ---- the list ----------------------------------------------------------------

my ($section) = slurp('docs/testing.md') =~ /^## The invariants\n(.*?)^## /ms;
my (%shown, %broken, @order);

for my $line (split /\n/, $section // '') {
    my ($i, $shown, $broken) =
        $line =~ /^\| I(\d+) \| [^|]+ \| ([^|]+) \| ([^|]*) \|$/ or next;
    push @order, $i;
    $shown{$i} = [ $shown =~ /`([^`]+)`/g ];
    $broken{$i} = [ $broken =~ /`([^`]+)`/g ];
}
report('docs/testing.md lists I1 and those after it, in order',
    @order && "@order" eq join(' ', 1 .. @order) ? () : "it lists: @order");
report('each is shown by something',
    map { "I$_ is shown by nothing" } grep { !@{ $shown{$_} } } @order);

# ---- what shows it -------------------------------------------------------------

my @silent;

for my $i (@order) {
    for my $file (@{ $shown{$i} }) {
        my $text = slurp($file);
        push @silent, defined $text ? "$file does not say I$i"
            : "I$i: there is no $file"
            if ($text // '') !~ /\bI$i\b/;
    }
}
report('each file of the list says what it shows', @silent);

my (%promise, @differ);

for my $line (split /\n/, slurp('tests/model/mutants/list')) {
    my ($name, $promise) = $line =~ /^([a-z][a-z-]*) \| (.*)/ or next;
    $promise{$name} = { map { $_ => 1 } $promise =~ /\bI(\d+)\b/g };
}
for my $i (@order) {
    my $here = join ' ', sort @{ $broken{$i} };
    my $there = join ' ', sort grep { $promise{$_}{$i} } keys %promise;
    push @differ, "I$i: here: $here; in tests/model/mutants/list: $there"
        if $here ne $there;
}
report('the mutants that break it are those of tests/model/mutants/list',
    @differ);

# ---- everywhere ------------------------------------------------------------------

my %listed = map { $_ => 1 } @order;
my $folders = join ' ', qw(common logging-channel shared-disk role primary
    backup agent control qemu/overlay tests docs);
my @unknown;

for my $file (sort split /\n/, `find $folders -type f`) {
    next if $file !~ /\.(?:[ch]|t|pm|md|patch)$|\/list$/;
    my $text = slurp($file) // '';
    while ($text =~ /\bI([1-9]\d?)\b/g) {
        push @unknown, "$file: I$1 is not in docs/testing.md" if !$listed{$1};
    }
}
report('no other number is used', @unknown);

done();
