#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Our C is as .clang-format has it, and braces are always there. Not looked at:
# qemu/overlay/, which has QEMU's style, and *.tbl.h, tables set by hand.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report qw(done report slurp);

chdir($ENV{top_srcdir} // '.') or die "top_srcdir: $!";

# Versions 14 to 16 agree on what .clang-format asks. Debian 12 has them (and
# tests/system/packages.txt names one); elsewhere the braces alone are looked at.
my ($version) = (`clang-format --version 2>/dev/null` // '') =~ /version (\d+)/;
my $agrees = defined $version && $version >= 14 && $version <= 16;

my $folders = join ' ', qw(common logging-channel shared-disk role primary
    backup agent control docs tests);
my @files = grep { !/\.tbl\.h$/ }
    sort split /\n/, `find $folders -name '*.[ch]'`;

# A control statement whose line ends behind its condition, or with else, has
# no brace. A loop without a body is a semicolon.
my $string = qr/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'/;
my $parens = qr/(\((?:[^()'"]++|$string|(?1))*\))/;
my @bare;

for my $file (@files) {
    my $text = slurp($file);
    $text =~ s{($string)|(/\*.*?\*/)}{$1 // $2 =~ s/[^\n]//gr}ges;
    while ($text =~ /(?:\b(?:if|for)\ $parens|(?<!\}\ )\bwhile\ $parens
                     |\belse)[ ]*\\?\n(?!\s*;)/gx) {
        my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
        push @bare, "$file:$line";
    }
}
my $debian_12 = slurp('/etc/os-release') =~ /^VERSION_CODENAME=bookworm$/m;
my $formats = $agrees || $debian_12;

report('if, else, for and while have braces', @bare);

if ($formats) {
    my @bad = $agrees
        ? map { "clang-format -i $_" }
            grep { `clang-format '$_'` ne slurp($_) } @files
        : 'there is no clang-format of a version from 14 to 16';
    report('clang-format changes no file', @bad);
}
done();
