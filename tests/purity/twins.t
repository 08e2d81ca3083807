#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
# What two files do alike is written once: no function's body of 15 lines or
# more stands twice, be its names, texts and numbers what they may.

use strict;
use warnings;
use File::Find qw(find);
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More tests => 3;
use Functions qw(functions);

use constant LINES => 15;

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

# "path:line name and path:line name" of those that are alike. A test's main() is a
# list of its tests, which may be as long as another's.
sub twins {
    my (@folders) = @_;
    my (@paths, %alike, @found);
    find({ no_chdir => 1, wanted => sub { push @paths, $_ if /\.[ch]\z/ } },
        @folders);
    for my $path (sort @paths) {
        open my $in, '<', $path or BAIL_OUT("$path: $!");
        local $/;
        for my $f (grep { $_->{lines} >= LINES && $_->{name} ne 'main' }
            functions(scalar <$in>)) {
            push @{ $alike{shape(@{ $f->{body} })} },
                "$path:$f->{line} $f->{name}";
        }
    }
    return sort map { join ' and ', @$_ } grep { @$_ > 1 } values %alike;
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
    if (!found) {
        complain("TEXT");
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

# ---- ours ----

chdir($ENV{top_srcdir} // '.') or BAIL_OUT("top_srcdir: $!");
is(join("\n", twins(qw(agent backup common control docs logging-channel
        primary role shared-disk))), '', 'the programs have no twins');
is(join("\n", twins(qw(qemu/overlay tests))), '',
    "QEMU's part and the tests have none");
