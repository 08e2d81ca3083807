#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A protected guest survives the death of its primary's host, of its QEMU
# alone, of its agent alone, and of its QEMU while the backup is late, and each
# leads to the same result: a client's connection goes on, and no write that it
# saw acknowledged is lost (I8, I9).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Lockstep::Audit qw(audit);
use Lockstep::Test qw(requires with_failover);

requires('small');

my %NAME = (late => 'qemu dies and the backup is late');

for my $fault (qw(host qemu agent late)) {
    with_failover("the primary's " . ($NAME{$fault} // "$fault dies"), sub {
        my ($f) = @_;
        $f->start_lab;
        $f->start_guest;
        $f->protect;
        $f->write_some;
        $f->inject;
        pass('the same connection goes on');
        note($_) for $f->timeline;
        diag("clients waited $f->{blackout_ms} ms");
        cmp_ok($f->{blackout_ms}, '<', 60_000,
            'clients waited for less than a minute');
        is($f->pair('hostb')->{role}, 'primary', 'hostb has the guest');
        $f->reprotect;
        pass('the pair is protected again, in generation 2');
        $f->verify;
        is($f->{lost}, 0,
            "all of $f->{acked} acknowledged writes are there");
        audit($f->{lab}, guest => $f->{guest});
    }, fault => $fault, lab_options => {});    # the settings' defaults
}

done_testing();
