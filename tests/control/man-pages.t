#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The manual pages say what the programs do: every setting with its default,
# every command and every option.

use strict;
use warnings;
use Test::More;

my $src = $ENV{top_srcdir} // '.';
my $obj = $ENV{top_builddir} // '_build/build';

sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!\n";
    local $/;
    return scalar readline $fh;
}

# The text of a page without its macros' punctuation.
sub page {
    my ($name) = @_;
    my $text = slurp("$src/docs/$name");
    $text =~ s/ Ns = Ns Li /=/g;
    return $text;
}

my $conf = page('lockstepd.conf.5');
my $sample = qx{$obj/control/lockstepd/lockstepd --sample};
is($?, 0, 'lockstepd --sample works');
my ($section, $settings) = ('', 0);
for (split /\n/, $sample) {
    $section = $1 if /^\[(\w+)\]/;
    my ($key, $default) = /^#(\w+)=(.*)$/ or next;
    $settings++;
    my ($part) = $conf =~ /^\.Ss \[\Q$section\E\]\n(.*?)(?=^\.S[sh] )/ms;
    like($part // '', qr/^\.It Li \Q$key\E(?:=|\s)/m,
        "lockstepd.conf(5) has [$section] $key");
    $default =~ s,^.*(?=/etc/lockstep),,; # a build for another prefix
    next if $default eq '' || $default =~ m,/libexec/,;
    like($part // '', qr/^\.It Li \Q$key=$default\E$/m,
        "... and its default, $default");
}
cmp_ok($settings, '>', 10, 'the sample has settings');
my @named = $conf =~ /^\.It Li \w+/mg;
is(scalar @named, $settings, 'and the page names no others');

for (['cli/lockstep', 'lockstep.1'], ['lockstepd/lockstepd', 'lockstepd.8']) {
    my ($program, $file) = @$_;
    my $text = page($file);
    my $help = qx{$obj/control/$program --help};
    is($?, 0, "$program --help works");
    my ($usage) = split /^Settings in /m, $help;
    my %option = map { $_ => 1 } $usage =~ /(?<=\s)--([a-z-]+)/g;
    delete @option{qw(help version)};
    like($text, qr/Fl -\Q$_\E\b/, "$file has --$_") for sort keys %option;
}
my $help = qx{$obj/control/cli/lockstep --help};
my $page = page('lockstep.1');
for my $command ($help =~ /^  (\w+) /mg) {
    like($page, qr/^\.Ss \Q$command\E$/m, "lockstep.1 has $command");
}

for my $file (qw(lockstep.1 lockstepd.8 lockstepd.conf.5)) {
    my $text = slurp("$src/docs/$file");
    is(scalar(() = $text =~ /^\.Bl /mg), scalar(() = $text =~ /^\.El$/mg),
        "$file closes each list");
    is(scalar(() = $text =~ /^\.Bd /mg), scalar(() = $text =~ /^\.Ed$/mg),
        "... and each display");
    like($text, qr/^\.Nd \S/m, "... and says in a line what it describes");
}
done_testing();
