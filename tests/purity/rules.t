#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A rule is found from docs/architecture.md in one jump: each place in its
# table "Where each rule is obeyed" exists and says that it obeys that rule,
# and each file that says so stands in the table.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Report qw(done report slurp);

my $root = $ENV{top_srcdir} // '.';
chdir $root or die "$root: $!";

# ---- the document ----------------------------------------------------------

my $document = slurp('docs/architecture.md');
my ($rules) = $document =~ /^## The rules.*?\n(.*?)^## /ms;
my ($table) = $document =~ /^## Where each rule is obeyed\n(.*?)(?:^## |\z)/ms;
my @rules = ($rules // '') =~ /^(\d+)\. /mg;
my (@rows, @malformed);

for my $line (grep { /^\|/ } split /\n/, $table // '') {
    next if $line =~ /^\| rule \||^\|---/;
    my ($rule, $paper, $file, $functions) =
        $line =~ /^\|\ (\d+)\ \|\ (ours|\d\.\d(?:,\ \d\.\d)*)\ \|[^|]+\|
                  \ \[?`([^`]+)`(?:\]\([^)]+\))?((?:,?\ `\w+`)*)\ \|$/x;
    if (!defined $rule) {
        push @malformed, "cannot be read: $line";
        next;
    }
    push @rows, { rule => $rule, paper => $paper, file => $file,
                  functions => [ $functions =~ /`(\w+)`/g ] };
}
report('the table of docs/architecture.md can be read',
    @rows && @rules ? @malformed : 'no rules or no rows');

my %placed = map { $_->{rule} => 1 } @rows;
my %numbered = map { $_ => 1 } @rules;
report('every rule has a place, every place a rule',
    (map { "rule $_ has no place" } grep { !$placed{$_} } @rules),
    (map { "there is no rule $_" } grep { !$numbered{$_} } sort keys %placed));

# ---- what a source says ------------------------------------------------------

# The numbers in "rule 1", "rules 1, 2 and 7".
sub rules_in {
    my ($text) = @_;
    $text =~ s/\n \* ?/ /g;
    return map { /\d+/g } $text =~ /\brules? (\d+(?:(?:, | and )\d+)*)/gi;
}

# The comment at the head of a file, behind the licence.
sub head_of_file {
    my ($text) = @_;
    return $text =~ m{\A/\* SPDX[^\n]*\n\s*(/\*.*?\*/)}s ? $1 : '';
}

# The comment at a function's head, and the heading of its section of the file;
# undef: the function is not defined here.
sub head_of_function {
    my ($text, $name) = @_;
    return undef
        if $text !~ /^(?:\w[^\n;={}]*[ *])?\Q$name\E\([^;{}]*\)\n\{/m;
    my @above = split /\n/, substr $text, 0, $-[0];
    my $head = '';

    pop @above while @above && $above[-1] =~ /^\w/;    # the type
    if (@above && $above[-1] =~ m{\*/$}) {
        do { $head = "$above[-1]\n$head" } until pop(@above) =~ m{^/\*};
    }
    for my $line (reverse @above) {
        return "$line\n$head" if $line =~ m{^/\* -{3,} .* -{3,} \*/$};
    }
    return $head;
}

# What the head of a file claims: lines "paper, 3.4; rules 1 and 7" or "rule 6",
# and in the cores "rule 1    the Output Rule    paper, 2.2".
sub claims {
    my ($head) = @_;
    my (%rule, %section);

    for my $line (split /\n/, $head) {
        next if $line !~ /^ \* +(?:paper, [\d., and]+; )?rules? \d/;
        $rule{$_} = 1 for rules_in($line);
        if ($line =~ /paper, ([\d., and]+)/) {
            $section{$_} = 1 for $1 =~ /\d\.\d/g;
        }
    }
    return (\%rule, \%section);
}

# ---- each place ----------------------------------------------------------------

my (@missing, @silent);

for my $row (@rows) {
    my ($rule, $file) = @$row{qw(rule file)};
    my $text = slurp($file);

    if (!defined $text) {
        push @missing, "rule $rule: there is no $file";
        next;
    }
    if (!@{ $row->{functions} }) {
        my $head = $file =~ /\.md$/ ? $text : head_of_file($text);
        push @silent, "$file does not say rule $rule in its head"
            if !grep { $_ == $rule } rules_in($head);
    }
    for my $function (@{ $row->{functions} }) {
        my $head = head_of_function($text, $function);
        if (!defined $head) {
            push @missing, "rule $rule: $file has no function $function()";
        } elsif (!grep { $_ == $rule } rules_in($head)) {
            push @silent,
                "$file: the head of $function() does not say rule $rule";
        }
    }
}
report('every file and function that the table names exists', @missing);
report('each says at its head which rule it obeys', @silent);

# ---- each file -------------------------------------------------------------------

my (%rule_of, %section_of, @differ);

for my $row (grep { $_->{file} !~ /\.md$/ } @rows) {
    $rule_of{ $row->{file} }{ $row->{rule} } = 1;
    $section_of{ $row->{file} }{$_} = 1
        for $row->{paper} =~ /\d\.\d/g;
}

sub list {
    my ($set) = @_;
    my $text = join ', ', sort { $a <=> $b } keys %{ $set // {} };
    return $text eq '' ? 'none' : $text;
}

my $folders = join ' ', qw(common logging-channel shared-disk role primary backup
    agent control qemu/overlay);
for my $file (sort split /\n/, `find $folders -name '*.c'`) {
    my ($rule, $section) = claims(head_of_file(slurp($file)));
    for ([ 'rules', $rule, $rule_of{$file} ],
        [ 'sections', $section, $section_of{$file} ]) {
        my ($what, $head, $rows) = @$_;
        push @differ, sprintf '%s: %s in its head: %s; in the table: %s',
            $file, $what, list($head), list($rows)
            if list($head) ne list($rows);
    }
}
report('the table has what the head of each file says, and no more', @differ);

done();
