#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# What two files do alike is written once: no function's body of 15 lines or
# more stands twice, be its names, texts and numbers what they may; nor does a
# long stretch of one.

use strict;
use warnings;
use File::Find qw(find);
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More tests => 5;
use Functions qw(functions);

# A stretch of so many tokens is ten lines or so.
use constant { LINES => 15, TOKENS => 80 };

my %keyword = map { $_ => 1 } qw(auto break case char const continue default
    do double else enum extern float for goto if inline int long register
    return short signed sizeof static struct switch typedef union unsigned
    void volatile while bool true false NULL);

# The body with each name, text and number replaced by where it came first.
sub shape {
    my (@body) = @_;
    my %seen;
    return join ' ', map {
        /^["'\w.]/ && !$keyword{$_} && !/^\.+\z/
            ? '$' . ($seen{$_} //= keys(%seen) + 1) : $_
    } @body;
}

# { path, line, name, lines, body } of each function. A test's main() is a list
# of its tests, which may be as long as another's.
sub all_functions {
    my (@folders) = @_;
    my (@paths, @found);
    find({ no_chdir => 1, wanted => sub { push @paths, $_ if /\.[ch]\z/ } },
        @folders);
    for my $path (sort @paths) {
        open my $in, '<', $path or BAIL_OUT("$path: $!");
        local $/;
        push @found, map { { %$_, path => $path } }
            grep { $_->{name} ne 'main' } functions(scalar <$in>);
    }
    return @found;
}

sub groups {
    my ($alike) = @_;
    my %group;
    for (values %$alike) {
        my %place = map { ("$_->{path}:$_->{line} $_->{name}" => 1) } @$_;
        $group{join ' and ', sort keys %place}++ if keys %place > 1;
    }
    return sort keys %group;
}

# "path:line name and path:line name" of those whose bodies are alike.
sub twins {
    my %alike;
    for my $f (grep { $_->{lines} >= LINES } all_functions(@_)) {
        push @{ $alike{shape(@{ $f->{body} })} }, $f;
    }
    return groups(\%alike);
}

# Of those that have a long stretch in common.
sub halves {
    my %alike;
    for my $f (all_functions(@_)) {
        my @body = @{ $f->{body} };
        for my $i (0 .. @body - TOKENS) {
            my $stretch = shape(@body[$i .. $i + TOKENS - 1]);
            push @{ $alike{$stretch} }, $f;
        }
    }
    return groups(\%alike);
}

# ---- a planted pair is found, and only that ----

my $function = <<'END';
static int NAME(struct TYPE *s, int n)
{
    int i, found = 0;

    /* COMMENT */
    for (i = 0; i < n; i++) {
        if (s->FIELD[i] == LIMIT) {
            found++;
        } else if (s->FIELD[i] > LIMIT) {
            found += 2;
        }
    }
    s->FIELD[0] = found;
    if (!found) {
        complain("TEXT", s->FIELD[i]);
        return -1;
    }
    return found;
}
END
my $dir = tempdir(CLEANUP => 1);
sub plant {
    my ($file, %word) = @_;
    my $text = $function;
    $text =~ s/$_/$word{$_}/g for keys %word;
    open my $out, '>', "$dir/$file" or BAIL_OUT("$dir/$file: $!");
    print $out $text;
    close $out or BAIL_OUT("$dir/$file: $!");
    return;
}
plant('one.c', NAME => 'count', TYPE => 'list', FIELD => 'item', LIMIT => '7',
    TEXT => 'none', COMMENT => 'One of them.');
plant('two.c', NAME => 'look', TYPE => 'map', FIELD => 'at', LIMIT => 'MAX',
    TEXT => 'nothing { here', COMMENT => 'The "other');
plant('three.c', NAME => 'differ', TYPE => 'map', FIELD => 'at',
    LIMIT => 's->most', TEXT => 'a', COMMENT => '');
is(join("\n", twins($dir)), "$dir/one.c:2 count and $dir/two.c:2 look",
    'a function that is copied and renamed is found');

$function =~ s/return found;/audit(s, found);\n    return NUMBER;/;
plant('four.c', NAME => 'recount', TYPE => 'map', FIELD => 'at',
    LIMIT => 'MAX', TEXT => '', COMMENT => '', NUMBER => 'found * 2');
ok((grep { /four\.c:2 recount and .*one\.c:2 count/ } halves($dir)),
    'so is a long stretch of one');

# ---- ours ----

chdir($ENV{top_srcdir} // '.') or BAIL_OUT("top_srcdir: $!");
my @ours = qw(agent backup common control docs logging-channel primary
    qemu/overlay role shared-disk);
is(join("\n", twins(@ours)), '', 'the programs and QEMU\'s part have no twins');
is(join("\n", twins('tests')), '', 'nor have the tests');
is(join("\n", halves(@ours)), '', 'no long stretch stands twice');
