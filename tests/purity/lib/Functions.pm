# SPDX-License-Identifier: GPL-2.0-or-later
# Functions.pm - the functions that are defined in a C file
package Functions;

use strict;
use warnings;
use Exporter qw(import);
our @EXPORT_OK = qw(functions sources);

# What is no comment: strings, characters, numbers, names, punctuation.
my $TOKEN = qr{
    /\*.*?\*/ | //[^\n]* | \\\n | \s+
    | (?<token> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'
        | \.?\d(?:[eEpP][-+]|[\w.])* | [A-Za-z_]\w*
        | -> | \+\+ | -- | << | >> | [-+*/%&|^<>=!]= | && | \|\|
        | \.\.\. | . )
}xs;

# ([token, line], ...) without the preprocessor's lines.
sub _tokens {
    my ($text) = @_;
    my ($line, @tokens) = 1;
    my $keep_lines = sub { my $s = shift; $s =~ tr/\n//cd; return $s };
    $text =~ s{^[ \t]*\#(?:\\\n|/\*.*?\*/|[^\n])*}{$keep_lines->($&)}gmse;
    while ($text =~ /\G$TOKEN/gc) {
        push @tokens, [$+{token}, $line] if defined $+{token};
        $line += ($& =~ tr/\n//);
    }
    return @tokens;
}

# The name in front of the parentheses that end at tokens[at]; '' when there
# is none, as of an initialiser's or a struct's braces.
sub _name {
    my ($tokens, $at) = @_;
    while ($at > 0 && $tokens->[$at][0] eq ')') {
        my $depth = 0;
        do {
            $depth += $tokens->[$at][0] eq ')' ? 1
                : $tokens->[$at][0] eq '(' ? -1 : 0;
        } while ($depth && $at-- > 0);
        return '' if --$at < 0;
        my $name = $tokens->[$at][0];
        return $name if $name =~ /^[A-Za-z_]/ && $name ne '__attribute__';
        $at--;
    }
    return '';
}

# Of a file's text: ({ name, line, lines, body => [tokens] }, ...)
sub functions {
    my ($text) = @_;
    my @tokens = _tokens($text);
    my ($depth, @found) = 0;
    for my $i (0 .. $#tokens) {
        my $t = $tokens[$i][0];
        if ($t eq '{' && !$depth++) {
            my $name = _name(\@tokens, $i - 1);
            push @found, { name => $name, from => $i } if $name ne '';
        } elsif ($t eq '}' && !--$depth && @found && !$found[-1]{body}) {
            my $f = $found[-1];
            my @body = @tokens[$f->{from} .. $i];
            $f->{line} = $body[0][1];
            $f->{lines} = $body[-1][1] - $body[0][1] - 1;
            $f->{body} = [map { $_->[0] } @body];
        }
    }
    return grep { $_->{body} } @found;
}

# The C files of these folders, not of those below them: (path => text, ...)
sub sources {
    my (@folders) = @_;
    my %text;
    for my $path (map { glob "$_/*.c" } @folders) {
        open my $f, '<', $path or die "$path: $!\n";
        local $/;
        $text{$path} = <$f>;
    }
    return %text;
}

1;
