#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What libvirt says of a failure is gone with the next call of it: an argument of
# virt_error(), which appends that text, makes none, nor does one beside
# virGetLastErrorMessage().
use strict;
use warnings;

my $root = $ENV{top_srcdir} // '.';
chdir $root or die "$root: $!";

my ($calls, @bad) = 0;
for my $file (sort glob 'control/*/*.c') {
    open my $fh, '<', $file or die "$file: $!";
    local $/;
    my $text = <$fh>;
    while ($text =~ /\b\w+(\((?:[^()]++|(?1))*\))/g) {
        my ($arguments, $at) = ($1, 1 + substr($text, 0, $-[0]) =~ tr/\n//);
        next if $arguments !~ s/\bvirGetLastErrorMessage\(\)//;
        $calls++;
        push @bad, "$file:$at: $1" if $arguments =~ /\b(vir[A-Z]\w+)\(/;
    }
    while ($text =~ /\bvirt_error(\((?:[^()]++|(?1))*\))/g) {
        my ($arguments, $at) = ($1, 1 + substr($text, 0, $-[0]) =~ tr/\n//);
        next if $arguments =~ /const char \*/;    # its definition
        $calls++;
        push @bad, "$file:$at: $1" if $arguments =~ /\b(vir[A-Z]\w+)\(/;
    }
}
print "1..2\n";
print "# $_\n" for @bad;
print @bad ? 'not ' : '', "ok 1 - no message with libvirt's text calls libvirt\n";
print $calls > 5 ? '' : 'not ', "ok 2 - there are calls ($calls)\n";
