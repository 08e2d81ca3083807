# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Setup: install the packages, build the emulator, the project and
# the guests.  Each step does nothing when nothing changed.  It runs before
# any package is installed: it uses nothing outside Debian's perl-base.

package Lockstep::Setup;
use strict;
use warnings;
use Cwd ();
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Spec;
use POSIX ();

our $TOP = Cwd::abs_path(dirname(__FILE__) . '/../../../..');
our $BUILD = File::Spec->rel2abs($ENV{LOCKSTEP_BUILD} // "$TOP/_build");

# Options: verbose, configure (more options of ./configure), build (name of
# the build folder), prefix, tests (build what only the tests need, too).
sub new {
    my ($class, %opt) = @_;
    my $self = bless {
        build => 'build', prefix => "$BUILD/root", configure => [], %opt,
    }, $class;
    _same_everywhere();
    -x '/usr/bin/apt-get'
        or die "this is no Debian: there is no /usr/bin/apt-get\n";
    my $said = `@{[ contained('true') ]} 2>&1`;
    die "root may not make namespaces here: $said" if $?;
    make_path("$BUILD/logs");
    return $self;
}

# Whoever calls, with whatever environment: the same steps, the same words.
sub _same_everywhere {
    open STDIN, '<', '/dev/null';
    umask 022;
    $| = 1;
    delete @ENV{qw(LANGUAGE TMPDIR)};
    $ENV{LC_ALL} = 'C.UTF-8';
    $ENV{DEBIAN_FRONTEND} = 'noninteractive';
    $ENV{HOME} = (getpwuid 0)[7] // '/root';
    $ENV{PATH} = join ':', $ENV{PATH} // (),
        qw(/usr/local/sbin /usr/sbin /sbin /usr/local/bin /usr/bin /bin);
    return;
}

# How many processors this process may use.
sub jobs {
    my $n = `nproc 2>/dev/null` || 1;
    chomp $n;
    return $n;
}

# One after the other: two of us in the same tree would build over each other.
sub lock {
    my ($self) = @_;
    open $self->{lock}, '>', "$BUILD/lock" or die "$BUILD/lock: $!\n";
    if (!flock $self->{lock}, LOCK_EX | LOCK_NB) {
        print "waiting for another build in $BUILD\n";
        flock $self->{lock}, LOCK_EX or die "$BUILD/lock: $!\n";
    }
    return;
}

sub unlock { close delete $_[0]{lock} if $_[0]{lock} }

# The command that runs CMD as all that there is in a PID and a mount
# namespace: when its parent ends, in whatever way, the kernel ends everything
# in it and takes its mounts.
sub contained {
    my (@cmd) = @_;
    return (qw(setpriv --pdeathsig KILL unshare --pid --fork
        --kill-child=KILL --mount-proc), @cmd);
}

# Start CODE in a child. A signal that ends this process ends the child
# first, by the signal HOW; the handlers come back when the second value that
# is returned goes.
sub _start {
    my ($how, $code) = @_;
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        $code->();
        print STDERR "cannot start: $!\n";
        POSIX::_exit(127);
    }
    return ($pid, Lockstep::Setup::Guard->new($how, $pid));
}

# Run CMD, contained and in a network namespace of its own; its status.
sub alone {
    my ($self, @cmd) = @_;
    my @in = contained('unshare', '--net', 'sh', '-c',
        'ip link set lo up && exec "$@"', 'sh', @cmd);
    my ($pid, $guard) = _start('KILL', sub { exec { $in[0] } @in });
    waitpid $pid, 0;
    return $?;
}

# Run CMD with its output in a log, showing that it moves: on a terminal the
# last line in place, else a line now and then. Options: log (a name), dir,
# free (not contained: apt must not be cut off).
sub step {
    my ($self, $what, $cmd, %opt) = @_;
    my $log = "$BUILD/logs/" . ($opt{log} // 'setup') . '.log';
    my $start = time;
    my $tty = -t STDOUT && !$self->{verbose};
    print "==> $what\n";
    open my $out, '>>', $log or die "$log: $!\n";
    print $out "==> $what: @$cmd\n";
    pipe my $r, my $w or die "pipe: $!\n";
    my @cmd = $opt{free} ? @$cmd : contained(@$cmd);
    my ($pid, $guard) = _start($opt{free} ? 'INT' : 'KILL', sub {
        close $r;
        open STDOUT, '>&', $w;
        open STDERR, '>&', $w;
        !$opt{dir} || chdir $opt{dir} and exec { $cmd[0] } @cmd;
    });
    close $w;
    my ($shown, $buf, @tail) = ($start, '');
    while (1) {
        vec(my $rin = '', fileno $r, 1) = 1;
        my $n = select my $rout = $rin, undef, undef, 1;
        if ($n > 0) {
            my $got = sysread $r, $buf, 65536, length $buf;
            last if !$got;
            while ($buf =~ s/^([^\n]*)\n//) {
                my $line = $1;
                print $out "$line\n";
                print "    $line\n" if $self->{verbose};
                push @tail, $line =~ s/.*\r(?=.)//r if $line =~ /\S/;
                shift @tail if @tail > 25;
            }
        }
        next if $self->{verbose};
        my $spent = time - $start;
        if ($tty) {
            printf "\r\e[K    %d:%02d %s", $spent / 60, $spent % 60,
                substr $tail[-1] // '', 0, 68;
        } elsif (time - $shown >= 20) {
            $shown = time;
            printf "    %d:%02d %s\n", $spent / 60, $spent % 60,
                substr $tail[-1] // '', 0, 68;
        }
    }
    print $out $buf;
    close $out;
    waitpid $pid, 0;
    my $status = $?;
    print "\r\e[K" if $tty;
    if ($status) {
        print map { "    $_\n" } @tail if !$self->{verbose};
        die "$what: " . _reason(@tail) . "; its log is $log\n";
    }
    my $spent = time - $start;
    printf "    done in %d:%02d\n", $spent / 60, $spent % 60 if $spent >= 5;
    return;
}

# The line that says why it failed: the first that looks like it, or the last.
sub _reason {
    my (@tail) = @_;
    my ($line) = grep { /^E: |\berror: |No space left/ } @tail;
    return substr $line // $tail[-1] // 'it failed', 0, 200;
}

# The lines of FILE (or of a command's output) for this release.
sub _packages {
    my ($self) = @_;
    my ($release) = `. /etc/os-release && echo "\$VERSION_CODENAME"`;
    chomp $release;
    my %want;
    open my $fh, '<', "$TOP/tests/system/packages.txt" or die "packages: $!\n";
    while (<$fh>) {
        s/#.*//;
        my ($name, $releases) = split or next;
        $want{$name} = 1 if !$releases
            || grep { $_ eq $release } split /,/, $releases;
    }
    $want{$_} = 1 for split ' ', `'$TOP/qemu/build' --list-depends`;
    return sort keys %want;
}

sub packages {
    my ($self) = @_;
    my @want = $self->_packages;
    my %have;
    for (`dpkg-query -W -f '\${db:Status-Abbrev} \${Package}\n' 2>/dev/null`) {
        my ($st, $name) = split;
        $have{$name} = 1 if $st eq 'ii';
    }
    my @missing = grep { !$have{$_} } @want;
    return if !@missing && `apt-cache policy linux-image-cloud-amd64 2>&1`
        =~ /Candidate: \d/;
    my @how = (log => 'packages', free => 1);
    $self->step('reading the lists of Debian\'s packages',
        ['apt-get', '-q', 'update'], @how);
    return if !@missing;
    # What an interrupted installation has left.
    $self->step('finishing what dpkg has begun', ['dpkg', '--configure', '-a'],
        @how) if `dpkg --audit`;
    $self->step('installing ' . @missing . ' packages',
        ['apt-get', '-q', '-y', '--no-install-recommends',
            '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=600',
            'install', @missing], @how);
    return;
}

sub qemu {
    my ($self) = @_;
    return $self->step('QEMU: patched and built (minutes the first time)',
        ["$TOP/qemu/build", '--work', "$BUILD/qemu", '--prefix',
            $self->{prefix}], log => 'qemu');
}

sub _older {
    my ($made, @from) = @_;
    my $t = (stat $made)[9] // return 1;
    return grep { ((stat)[9] // 0) > $t } @from;
}

sub project {
    my ($self) = @_;
    my $dir = "$BUILD/$self->{build}";
    my @inputs = ("$TOP/configure.ac", "$TOP/Makefile.am",
        glob("$TOP/*/Makefile.inc"), glob("$TOP/tests/*/Makefile.inc"));
    if (_older("$TOP/configure", "$TOP/configure.ac")
        || _older("$TOP/Makefile.in", @inputs)) {
        $self->step('Lockstep: generating its configure script',
            ['autoreconf', '-fi'], dir => $TOP, log => 'build');
    }
    my @options = ("--prefix=$self->{prefix}", '--sysconfdir=/etc',
        '--localstatedir=/var', @{ $self->{configure} });
    my $same = "@options\n";
    my $now = read_file("$dir/configured");
    my @make = ('make', '-C', $dir, '-j', jobs());
    if ($now ne $same || _older("$dir/config.status", "$TOP/configure")) {
        make_path($dir);
        unlink "$dir/configured";
        $self->step('Lockstep: configuring',
            ["$TOP/configure", @options], dir => $dir, log => 'build');
        _mark("$dir/configured", $same);
    }
    if (-e "$dir/unfinished") {
        # A compiler that was killed may have left half of an object file,
        # which make takes for a whole one.
        $self->step('Lockstep: removing what a killed build has left',
            [@make, 'clean'], log => 'build');
    }
    _mark("$dir/unfinished", '');
    $self->step('Lockstep: building', [@make, 'all'], log => 'build');
    $self->step('Lockstep: building the tests',
        [@make, 'check', 'TESTS='], log => 'build') if $self->{tests};
    # Compared first: a lab that runs keeps its files.
    $self->step("Lockstep: installing into $self->{prefix}",
        ['make', '-C', $dir, 'INSTALL=install -C', 'install'],
        log => 'build');
    unlink "$dir/unfinished";
    return;
}

sub read_file {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return <$fh> // '';
}

sub _mark {
    my ($path, $text) = @_;
    open my $fh, '>', $path or die "$path: $!\n";
    print $fh $text;
    close $fh or die "$path: $!\n";
    return;
}

sub guest {
    my ($self, $kind) = @_;
    my %what = (
        debian => 'a Debian guest with Redis (about 2 minutes the first time)',
        small => 'a small guest',
    );
    # What a killed run has left; the lock is ours.
    system('rm', '-rf', '--one-file-system', glob "$BUILD/guest/tmp.*");
    return $self->step("guest: $what{$kind}",
        ["$TOP/tests/system/guest/make-$kind", "$BUILD/guest"],
        log => "guest-$kind");
}

sub all {
    my ($self, @guests) = @_;
    $self->lock;
    $self->packages;
    $self->qemu;
    $self->project;
    $self->guest($_) for @guests;
    $self->unlock;
    return;
}

# For as long as it lives, SIGINT, SIGTERM and SIGHUP end a child, and then do
# what they did before.
package Lockstep::Setup::Guard;

sub new {
    my ($class, $how, $pid) = @_;
    my %before = map { $_ => $SIG{$_} } qw(INT TERM HUP);
    for my $name (keys %before) {
        $SIG{$name} = sub {
            kill $how, $pid;
            waitpid $pid, 0;
            $before{$name}->($name) if ref $before{$name};
            exit 130;
        };
    }
    return bless \%before, $class;
}

sub DESTROY {
    my ($self) = @_;
    $SIG{$_} = $self->{$_} // 'DEFAULT' for keys %$self;
    return;
}

1;
