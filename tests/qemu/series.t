#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The patch series applies to the fetched source, hook patches stay hooks,
# overlay files carry their licence, and qemu/build refuses what it must.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Find;
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

my $top = abs_path($ENV{top_srcdir} || dirname(abs_path($0)) . '/../..');
my $qemu = "$top/qemu";
my $work = $ENV{LOCKSTEP_QEMU_WORK} || "$top/_build/qemu";

# A hook patch only connects: bounds for each file that it touches.
my $most_added = 60;
my $most_function = 15;

sub slurp {
    open my $f, '<', $_[0] or die "$_[0]: $!\n";
    local $/;
    return <$f>;
}

sub lines { return grep { !/^\s*(?:#|$)/ } split /\n/, slurp($_[0]) }

sub files {
    my ($dir, @found) = @_;
    find({ no_chdir => 1, wanted => sub { push @found, $_ if -f } }, $dir)
        if -d $dir;
    return map { substr $_, length($dir) + 1 } sort @found;
}

# What a patch adds, file by file: { file => [ line, ... ] }; a context or
# removed line is undef, so that runs of added lines can be seen.
sub added {
    my (%added, $file);
    for (split /\n/, slurp($_[0])) {
        if (m{^\+\+\+ (?:b/)?(\S+)}) { $file = $1 }
        elsif (/^--- /) { next }
        elsif (/^\+(.*)/) { push @{ $added{$file} }, $1 }
        elsif (defined $file) { push @{ $added{$file} }, undef }
    }
    return \%added;
}

# The longest function body among added lines.
sub longest_function {
    my ($longest, $length) = (0, undef);
    for my $line (@{ $_[0] }) {
        if (!defined $line) { $length = undef }
        elsif ($line eq '{') { $length = 0 }
        elsif ($line eq '}' && defined $length) {
            $longest = $length if $length > $longest;
            $length = undef;
        }
        elsif (defined $length) { $length++ }
    }
    return $longest;
}

# A fix is a mail that may be sent upstream: who, when, what, why, and the
# author's word that it may be used.
sub is_mail {
    my ($patch, $message) = @_;
    my ($from) = $message =~ /\AFrom: (\S.* <\S+@\S+>)\n/;
    ok($from, "$patch says who wrote it") or return;
    like($message, qr/^Date: \w{3}, \d+ \w{3} \d{4} [\d:]{8} [+-]\d{4}$/m,
        "$patch has a date");
    like($message, qr{^Subject: \[PATCH\] [\w/]+: \S}m, "$patch has an area");
    my ($what, $signed) = $message =~ /\n\n(.*\S)\n\n(\S.*)\n---\n\s*\z/s;
    like($what // '', qr/\n\n/, "$patch tells the problem and the change");
    is($signed, "Signed-off-by: $from", "$patch is signed off by its author");
}

my @series = lines("$qemu/series");
my %listed = map { $_ => 1 } @series;
my $readme = slurp("$qemu/README.md");

for my $patch (@series) {
    ok(-f "$qemu/patches/$patch", "$patch is there") or next;
    my $text = slurp("$qemu/patches/$patch");
    my ($message) = $text =~ /\A(.*?)^(?:---|diff) /ms;
    like($message // '', qr/^Subject: \S.*\n\n\S/m,
        "$patch says what it does and why");
    is_mail($patch, $message // '') if $patch =~ m{^fixes/};
    my ($name) = $patch =~ m{([^/]+)\.patch$};
    like($readme, qr/^\| `\Q$name\E` \|/m, "README.md's table has $name");
    next if $patch !~ m{^hooks/};
    my $added = added("$qemu/patches/$patch");
    for my $file (sort keys %$added) {
        my $count = grep { defined } @{ $added->{$file} };
        cmp_ok($count, '<=', $most_added,
            "$patch: adds a few lines to $file");
        cmp_ok(longest_function($added->{$file}), '<=', $most_function,
            "$patch: has no code of its own in $file");
    }
}
ok($listed{$_}, "patches/$_ is in the series")
    for grep { /\.patch$/ } files("$qemu/patches");

for my $file (files("$qemu/overlay")) {
    my $text = slurp("$qemu/overlay/$file");
    like($text, qr/SPDX-License-Identifier: GPL-2\.0-or-later/,
        "overlay/$file carries its licence");
    cmp_ok(($text =~ tr/\n//), '<=', 800, "overlay/$file is not too long");
    like($readme, qr/^\| (?:`\S+`, )*`\Q$file\E`/m,
        "README.md's overlay table has $file");
}

# The tables name nothing that is gone.
my %there = map { s{.*/|\.patch$}{}gr => 1 } @series;
ok($there{$_}, "README.md's $_ is in the series")
    for $readme =~ /^\| `(\d\w*-\S+)` \|/mg;
my ($table) = $readme =~ /^## Overlay\n(.*?)^## /ms;
for my $cell (($table // '') =~ /^\| (`.*?`) \|/mg) {
    next if $cell =~ /overlay/;
    ok(-f "$qemu/overlay/$_", "README.md's overlay/$_ is there")
        for $cell =~ /`(\S+?)`/g;
}

# No place to download from is named: it is the machine's own mirror.
for my $file (grep { !/^patches/ } files($qemu)) {
    unlike(slurp("$qemu/$file"), qr{\b(?:https?|ftp)://}, "$file names no host");
}


SKIP: {
    skip "no source in $work (run qemu/build)", 1
        if !-r "$work/download/version";
    my $out = qx($qemu/build --source-only --work $work 2>&1);
    is($?, 0, 'the series applies without fuzz') or diag($out);
}

# Each fix is for upstream: it needs none of the others.
SKIP: {
    my @fixes = grep { m{^fixes/} } @series;
    skip "no source in $work (run qemu/build)", scalar @fixes
        if !-d "$work/pristine";
    for my $fix (@fixes) {
        my $out = qx(patch -p1 -F0 -f --dry-run -d $work/pristine \
            <$qemu/patches/$fix 2>&1);
        is($?, 0, "$fix applies by itself") or diag($out);
    }
}

# A series that does not apply is refused by name.
my $tmp = tempdir(CLEANUP => 1);
SKIP: {
    skip "no source in $work (run qemu/build)", 2 if !-d "$work/pristine";
    system("cp -r $qemu $tmp/qemu && mkdir -p $tmp/work/src && "
        . "cp -r $top/common $top/logging-channel $tmp/ && "
        . "cp -r $work/download $work/pristine.version $tmp/work/ && "
        . "mkdir -p $tmp/work/pristine && cp -r $work/pristine/replay "
        . "$work/pristine/meson.build $tmp/work/pristine/ && "
        . "touch $tmp/work/src.ready") == 0 or die;
    make_path("$tmp/qemu/patches/fixes");
    open my $f, '>', "$tmp/qemu/patches/fixes/bad.patch" or die;
    print $f "Subject: x\n\ny\n\n--- a/replay/replay.c\n+++ b/replay/replay.c\n"
        . "\@\@ -1,3 +1,4 \@\@\n no\n such\n+new\n line\n";
    close $f;
    open $f, '>', "$tmp/qemu/series" or die;
    print $f "fixes/bad.patch\n";
    close $f;
    my $out = qx($tmp/qemu/build --source-only --work $tmp/work 2>&1);
    isnt($?, 0, 'a patch that does not apply ends the build');
    like($out, qr{patch fixes/bad\.patch does not apply to qemu},
        'and is named');
}

# A version of another series is refused.
make_path("$tmp/other/download");
open my $f, '>', "$tmp/other/download/version" or die;
print $f "1:11.0.1+ds-1\n";
close $f;
my $out = qx($qemu/build --work $tmp/other --prefix $tmp/p 2>&1);
isnt($?, 0, 'a version of another series is refused');
like($out, qr/11\.0\.1\S* is not of the 10\.0 series/, 'and named');

# An index without a signature is refused. The mirror is a folder here.
make_path("$tmp/mirror/dists/trixie/main/source");
open $f, '>', "$tmp/mirror/dists/trixie/Release" or die;
print $f "Suite: trixie\nCodename: trixie\nComponents: main\n";
close $f;
open $f, '>', "$tmp/list" or die;
print $f "deb file:$tmp/mirror bookworm main\n";
close $f;
open $f, '>', "$tmp/apt.conf" or die;
print $f "Dir::Etc::sourcelist \"$tmp/list\";\nDir::Etc::sourceparts "
    . "\"/dev/null\";\n";
close $f;
$out = qx(APT_CONFIG=$tmp/apt.conf $qemu/build --work $tmp/unsigned --prefix $tmp/p 2>&1);
isnt($?, 0, 'an unsigned index is refused');
like($out, qr/not signed/, 'for being unsigned');
like($out, qr/no mirror in this machine's apt configuration/,
    'with a message that says where to look');

open $f, '>', "$tmp/list" or die;
close $f;
$out = qx(APT_CONFIG=$tmp/apt.conf $qemu/build --work $tmp/none --prefix $tmp/p 2>&1);
isnt($?, 0, 'a machine without a mirror is told so');
like($out, qr/apt has no Debian mirror/, 'in so many words');

my $depends = qx($qemu/build --list-depends);
like($depends, qr/^libslirp-dev$/m, 'the packages to install can be listed');

done_testing();
