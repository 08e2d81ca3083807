# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Test: what every system test begins with.

package Lockstep::Test;
use strict;
use warnings;
use Exporter 'import';
use Test::More;
use Lockstep::Lab;

our @EXPORT_OK = qw(requires note_step with_failover);

# Skip, with the reason, what cannot run here.
sub requires {
    my ($guest) = @_;
    plan skip_all => 'root is needed to make network namespaces' if $> != 0;
    my $prefix = Lockstep::Lab::prefix_default();
    for my $p (qw(bin/lockstep sbin/lockstepd libexec/lockstep/lockstep-agent
        libexec/lockstep/qemu-system-x86_64)) {
        plan skip_all => "$prefix/$p is not built: run ./run-tests"
            if !-x "$prefix/$p";
    }
    plan skip_all => "the guest $guest is not made: run ./run-tests"
        if $guest && !-e "$Lockstep::Lab::BUILD/guest/$guest/done";
    return;
}

my $begin = Lockstep::Run::now();

sub note_step {
    note(sprintf '[%5.1f] %s', Lockstep::Run::now() - $begin, "@_");
    return;
}

# Three times the defaults, so that a loaded machine begins no failover that
# the test did not ask for. Quickstart and failover.t have the defaults.
my @PATIENT = (['failover', 'detect_ms', 3000],
    ['failover', 'lease_ms', 2400]);

# Run CODE with a Failover; whatever happens, its lab is gone afterwards.
sub with_failover {
    my ($name, $code, %opt) = @_;
    require Lockstep::Failover;
    return subtest $name => sub {
        my $f = Lockstep::Failover->new(
            guest_kind => 'small', say => \&note_step,
            lab_options => { conf => \@PATIENT }, %opt);
        my $ok = eval { $code->($f); 1 };
        if (!$ok) {
            my $why = $@;
            fail("$name: ran to its end");
            diag($why);
            eval { $f->post_mortem; 1 } or diag("post mortem: $@");
        }
        diag("logs: $f->{lab}{logs}")
            if $f->{lab} && !Test::More->builder->is_passing;
        $f->end;
        done_testing();
    };
}

1;
