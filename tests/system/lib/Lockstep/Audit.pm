# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Audit: what must hold after every system test, whatever it did; of
# the invariants of docs/testing.md the first, I1.

package Lockstep::Audit;
use strict;
use warnings;
use Exporter 'import';
use File::Find;
use Test::More;
use Lockstep::Run qw(until_ok);

our @EXPORT_OK = qw(audit);

# What no log may say; what matches ALLOWED besides is known and harmless.
my @FORBIDDEN = (
    qr/assert(?:ion)? .*failed/i, qr/\bBUG\b/, qr/invariant/i, qr/panic/i,
    qr/stack smashing/, qr/double free|corrupted|free\(\): invalid/,
    qr/segmentation fault/i, qr/core dumped/i,
    qr/AddressSanitizer|runtime error:|LeakSanitizer/,
    qr/terminate called/, qr/\bdiverge/i,
);

sub _log_files {
    my ($lab) = @_;
    my @files;
    find({ no_chdir => 1, wanted => sub {
        push @files, $_ if -f && !/\.(?:pcap|img|txt)$/ && -s _ < 64 << 20;
    } }, grep { -d } $lab->{logs},
        map { "$lab->{dir}/$_/var/log" } keys %{ $lab->{hosts} });
    return @files;
}

sub _forbidden_lines {
    my ($lab, @allowed) = @_;
    my @found;
    for my $file (_log_files($lab)) {
        open my $fh, '<', $file or next;
        while (my $line = <$fh>) {
            next if !grep { $line =~ $_ } @FORBIDDEN;
            next if grep { $line =~ $_ } @allowed;
            push @found, "$file: $line";
            last if @found >= 10;
        }
    }
    return @found;
}

sub _crashes {
    my ($lab) = @_;
    return map { my $h = $_; map { "$h->{name}: $_" } $h->crashes }
        values %{ $lab->{hosts} };
}

# Processes that nobody can account for, and that stay: libvirtd runs programs
# now and then, and an agent that ends may meet its successor.
sub _strangers {
    my ($host) = @_;
    my @found;
    eval {
        until_ok('no strangers', 20, sub { !(@found = _look($host)) }, 0.5);
    };
    return @found;
}

sub _look {
    my ($host) = @_;
    my %known = map { $_ => 1 }
        qw(libvirtd lockstepd lockstep-agent qemu-system-x86_64);
    my (@found, %agents);
    for my $p ($host->processes) {
        my ($exe) = $p->{exe} =~ m,([^/]+?)(?: \(deleted\))?$,;
        next if $p->{cmd} =~ /host-init\.pl/;
        if ($exe eq 'lockstep-agent') {
            my ($vm) = $p->{cmd} =~ /--vm[ =](\S+)/;
            push @found, "a second agent: $p->{cmd}"
                if $agents{ $vm // '?' }++;
        }
        push @found, "$p->{pid} $p->{cmd}" if !$known{$exe};
    }
    return @found;
}

sub _pair {
    my ($host, $guest) = @_;
    my $status = $host->status // {};
    my ($pair) = grep { $_->{uuid} eq $guest->{uuid} }
        @{ $status->{domains} // [] };
    return $pair // { state => 'unknown', generation => 0 };
}

# What the record says is what the pair says, before and after: free while it
# is protected, owned by the host that went live.
sub _record_agrees {
    my ($lab, $host, $guest) = @_;
    my ($pair, $records);
    until_ok('a pair that does not change', 60, sub {
        $pair = _pair($host, $guest);
        $records = $host->run(['lockstep', 'arbiter', 'show',
            $lab->{arbiter}])->{out};
        my $now = _pair($host, $guest);
        return "@$pair{qw(state generation)}"
            eq "@$now{qw(state generation)}";
    });
    my ($generation, $what) =
        $records =~ /^\Q$guest->{uuid}\E  generation (\d+)  (.*)$/m;
    return if $pair->{state} !~ /^(?:protected|live)$/;
    is($generation, $pair->{generation},
        "the record is of generation $pair->{generation}, as the pair is");
    like($what, $pair->{state} eq 'protected' ? qr/^free$/ : qr/^owned by /,
        "the record is right for a pair that is $pair->{state}");
    return;
}

# Options: guest (its pair is looked at), allow ([patterns of log lines]).
sub audit {
    my ($lab, %opt) = @_;
    return subtest 'audit' => sub {
        my @on = grep { $_->is_on } values %{ $lab->{hosts} };
        if ($opt{guest}) {
            my %running;
            for my $h (@on) {
                my $list = $h->virsh('list');
                $running{ $h->{name} } = 1
                    if $list =~ /\s\Q$opt{guest}{name}\E\s+running/;
            }
            cmp_ok(scalar(keys %running), '<=', 1,
                'the guest runs on one host at most')
                or diag(join ' ', sort keys %running);
        }
        is_deeply([_crashes($lab)], [], 'no process crashed');
        is_deeply([glob("$lab->{logs}/san-*")], [], 'no sanitizer report');
        is_deeply([_forbidden_lines($lab, @{ $opt{allow} // [] })], [],
            'no log has a line that it must not have');
        for my $h (@on) {
            is_deeply([_strangers($h)], [],
                "every process of $h->{name} is accounted for");
        }
        if (@on && $lab->{prefix}) {
            my $r = $on[0]->run(
                ['lockstep', 'arbiter', 'show', $lab->{arbiter}]);
            is($r->{status}, 0, 'the arbiter\'s record can be read')
                or diag($r->{err});
            unlike($r->{out}, qr/unreadable/, 'every record is readable');
            _record_agrees($lab, $on[0], $opt{guest}) if $opt{guest};
        }
        done_testing();
    };
}

1;
