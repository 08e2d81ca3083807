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
use POSIX ();

our $TOP = Cwd::abs_path(dirname(__FILE__) . '/../../../..');
our $BUILD = $ENV{LOCKSTEP_BUILD} // "$TOP/_build";

# Options: verbose, configure (more options of ./configure), build (name of
# the build folder), prefix.
sub new {
    my ($class, %opt) = @_;
    my $self = bless {
        build => 'build', prefix => "$BUILD/root", configure => [],
        steps => 0, %opt,
    }, $class;
    make_path("$BUILD/logs");
    $| = 1;
    return $self;
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

# Run CMD with its output in a log, showing that it moves: on a terminal the
# last line in place, else a line now and then.
sub step {
    my ($self, $what, $cmd, %opt) = @_;
    my $log = "$BUILD/logs/" . ($opt{log} // 'setup') . '.log';
    my $start = time;
    my $tty = -t STDOUT && !$self->{verbose};
    print "==> $what\n";
    open my $out, '>>', $log or die "$log: $!\n";
    print $out "==> $what: @$cmd\n";
    pipe my $r, my $w or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        close $r;
        chdir $opt{dir} if $opt{dir};
        open STDIN, '<', '/dev/null';
        open STDOUT, '>&', $w;
        open STDERR, '>&', $w;
        $ENV{DEBIAN_FRONTEND} = 'noninteractive';
        $ENV{LC_ALL} = 'C.UTF-8';
        $ENV{PATH} .= ':/usr/local/sbin:/usr/sbin:/sbin';
        exec { $cmd->[0] } @$cmd or POSIX::_exit(127);
    }
    close $w;
    local @SIG{qw(INT TERM HUP)};
    for my $s (qw(INT TERM HUP)) {
        $SIG{$s} = sub {
            print "\n";
            kill 'TERM', $pid;
            waitpid $pid, 0;
            exit 130;
        };
    }
    my ($last, $shown, $buf) = ('', $start, '');
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
                $last = $line =~ s/.*\r//r if $line =~ /\S/;
            }
        }
        next if $self->{verbose};
        my $spent = time - $start;
        if ($tty) {
            printf "\r\e[K    %d:%02d %s", $spent / 60, $spent % 60,
                substr $last, 0, 68;
        } elsif (time - $shown >= 20) {
            $shown = time;
            printf "    %d:%02d %s\n", $spent / 60, $spent % 60,
                substr $last, 0, 68;
        }
    }
    print $out $buf;
    close $out;
    waitpid $pid, 0;
    my $status = $?;
    print "\r\e[K" if $tty;
    if ($status) {
        system('tail', '-n', '25', $log) if !$self->{verbose};
        die "$what failed; its log is $log\n";
    }
    my $spent = time - $start;
    printf "    done in %d:%02d\n", $spent / 60, $spent % 60 if $spent >= 5;
    return;
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
    $self->step('reading the lists of Debian\'s packages',
        ['apt-get', '-q', 'update'], log => 'packages');
    $self->step('installing ' . @missing . ' packages',
        ['apt-get', '-q', '-y', '--no-install-recommends',
            '-o', 'Dpkg::Use-Pty=0', 'install', @missing],
        log => 'packages') if @missing;
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
    my $now = '';
    if (open my $fh, '<', "$dir/configured") {
        local $/;
        $now = <$fh>;
    }
    if ($now ne $same || _older("$dir/config.status", "$TOP/configure")) {
        make_path($dir);
        $self->step('Lockstep: configuring',
            ["$TOP/configure", @options], dir => $dir, log => 'build');
        open my $fh, '>', "$dir/configured" or die "$dir: $!\n";
        print $fh $same;
    }
    $self->step('Lockstep: building',
        ['make', '-C', $dir, '-j', jobs()], log => 'build');
    $self->step("Lockstep: installing into $self->{prefix}",
        ['make', '-C', $dir, 'install'], log => 'build');
    return;
}

sub guest {
    my ($self, $kind) = @_;
    my %what = (
        debian => 'a Debian guest with Redis (about 2 minutes the first time)',
        small => 'a small guest',
    );
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

1;
