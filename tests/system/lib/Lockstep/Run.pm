# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Run: start commands, wait for them with a bound, keep their output.
#
# Every child belongs to whoever started it: stop() ends a child by its own
# pid, and nothing here ends a process by name.

package Lockstep::Run;
use strict;
use warnings;
use Exporter 'import';
use Fcntl qw(F_SETFD);
use IO::Select;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

# A missing one would be replaced by whatever is opened next.
open STDIN, '<', '/dev/null' if !defined fileno STDIN;

our @EXPORT_OK = qw(now run must spawn reap stop read_file write_file until_ok);

# Monotonic seconds; comparable with every CLOCK_MONOTONIC on this machine.
sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub read_file {
    my ($path) = @_;
    open my $fh, '<', $path or return undef;
    local $/;
    my $text = <$fh>;
    return $text;
}

sub write_file {
    my ($path, $text, $mode) = @_;
    open my $fh, '>', $path or die "$path: $!\n";
    print $fh $text or die "$path: $!\n";
    close $fh or die "$path: $!\n";
    chmod $mode, $path if defined $mode;
    return;
}

# Exec in a child: $io->{in,out,err} are file handles or undef (/dev/null).
sub _child {
    my ($cmd, $io) = @_;
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE CHLD USR1);
    POSIX::setsid() if $io->{own_session};
    my @want = (
        $io->{in}  // do { open my $f, '<', '/dev/null'; $f },
        $io->{out} // do { open my $f, '>', '/dev/null'; $f },
        $io->{err} // do { open my $f, '>', '/dev/null'; $f },
    );
    for my $fd (0 .. 2) {
        POSIX::dup2(fileno $want[$fd], $fd);
    }
    if ($io->{env}) {
        $ENV{$_} = $io->{env}{$_} for keys %{ $io->{env} };
    }
    exec { $cmd->[0] } @$cmd or do {
        print STDERR "$cmd->[0]: $!\n";
        POSIX::_exit(127);
    };
}

# Run to the end: returns { status, out, err, timeout }.  Options: in (text),
# timeout (seconds, 60 unless told), env, on_line (called with each line of
# either output as it comes).
sub run {
    my ($cmd, %opt) = @_;
    my $limit = now() + ($opt{timeout} // 60);
    pipe my $ir, my $iw or die "pipe: $!\n";
    pipe my $or, my $ow or die "pipe: $!\n";
    pipe my $er, my $ew or die "pipe: $!\n";
    my $pid = _child($cmd,
        { in => $ir, out => $ow, err => $ew, env => $opt{env} });
    close $_ for $ir, $ow, $ew;
    {
        local $SIG{PIPE} = 'IGNORE';
        syswrite $iw, $opt{in} if defined $opt{in};
        close $iw;
    }
    my %text = (fileno($or) => '', fileno($er) => '');
    my ($ofd, $efd) = (fileno $or, fileno $er);
    my $sel = IO::Select->new($or, $er);
    my ($late, %part) = 0;
    while ($sel->count) {
        my $left = $limit - now();
        if ($left <= 0) { $late = 1; last }
        for my $fh ($sel->can_read($left)) {
            my $n = sysread $fh, my $buf, 65536;
            if ($n) {
                $text{ fileno $fh } .= $buf;
                _lines(\$part{ fileno $fh }, $buf, $opt{on_line})
                    if $opt{on_line};
            }
            elsif (defined $n) { $sel->remove($fh) }
        }
    }
    kill 'KILL', $pid if $late;
    waitpid $pid, 0;
    my $status = $late ? 124 : $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return {
        status => $status, timeout => $late,
        out => $text{$ofd}, err => $text{$efd},
    };
}

sub _lines {
    my ($part, $more, $code) = @_;
    $$part = ($$part // '') . $more;
    $code->($1) while $$part =~ s/^([^\n]*)\n//;
    return;
}

# Run and die with everything that explains it unless the status is 0.
sub must {
    my ($cmd, %opt) = @_;
    my $r = run($cmd, %opt);
    return $r->{out} if $r->{status} == 0;
    my $why = $r->{timeout} ? 'did not end in time' : "status $r->{status}";
    my $said = join ' ', @$cmd;
    $said = substr($said, 0, 300) . '...' if length $said > 300;
    die "$said: $why\n$r->{err}$r->{out}";
}

# Start and go on.  Options: log (a path for both outputs), in/out => 'pipe',
# env.  Returns { pid, in, out, name }.
sub spawn {
    my ($cmd, %opt) = @_;
    my %io = (env => $opt{env}, own_session => 1);
    my %mine;
    if ($opt{log}) {
        open my $log, '>>', $opt{log} or die "$opt{log}: $!\n";
        $io{out} = $io{err} = $log;
    }
    if (($opt{in} // '') eq 'pipe') {
        pipe my $r, my $w or die "pipe: $!\n";
        ($io{in}, $mine{in}) = ($r, $w);
        $w->autoflush(1);
    }
    if (($opt{out} // '') eq 'pipe') {
        pipe my $r, my $w or die "pipe: $!\n";
        ($mine{out}, $io{out}) = ($r, $w);
    }
    my $pid = _child($cmd, \%io);
    return { %mine, pid => $pid, name => $opt{name} // $cmd->[0] };
}

# The child's status when it has ended, undef while it runs.
sub reap {
    my ($child) = @_;
    return $child->{status} if defined $child->{status};
    my $pid = waitpid $child->{pid}, WNOHANG;
    return undef if $pid == 0;
    $child->{status} = $pid < 0 ? 0 : $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return $child->{status};
}

# End a child of ours and wait for it.
sub stop {
    my ($child, $signal) = @_;
    return $child->{status} if defined reap($child);
    close delete $child->{in} if $child->{in};
    kill $signal // 'KILL', $child->{pid};
    waitpid $child->{pid}, 0;
    $child->{status} = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return $child->{status};
}

# For what tells nobody when it happens (a remote port that opens): ask again
# every so often until the answer is true.  Dies at the bound.
sub until_ok {
    my ($what, $timeout, $ask, $every) = @_;
    my $limit = now() + $timeout;
    while (1) {
        my $answer = $ask->();
        return $answer if $answer;
        die "$what: not within $timeout s\n" if now() >= $limit;
        select undef, undef, undef, $every // 0.05;
    }
}

1;
