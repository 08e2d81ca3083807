# SPDX-License-Identifier: GPL-2.0-or-later
# Report.pm - what the tests that read files share: a file's text, a sentence
# with what is wrong about it
package Report;

use strict;
use warnings;
use Exporter qw(import);
our @EXPORT_OK = qw(done report slurp);

my $n = 0;

sub report {    # report SENTENCE, WHAT IS WRONG...
    my ($sentence, @bad) = @_;
    $n++;
    print "# $_\n" for @bad;
    print @bad ? 'not ' : '', "ok $n - $sentence\n";
    return;
}

# The plan, when all has been reported.
sub done {
    print "1..$n\n";
    return;
}

sub slurp {     # undef when it cannot be read
    my ($path) = @_;
    local $/;
    open my $f, '<', $path or return;
    return scalar <$f>;
}

1;
