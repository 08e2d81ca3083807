# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Lab: two simulated hosts, a client and a switch on this machine.
#
#     hosta  br0 --eth0 .... pa +--------+ pb .... eth0-- br0  hostb
#            |  guests' taps    |  sw0   |      guests' taps |
#                               +--------+
#                                 pc ........ eth0  client
#
# Theory of operation.  Each part is a network namespace held by a process of
# ours; each host is a PID namespace besides, so that all of it dies in one
# instant.  Nothing has a name in the outer system: when this process ends,
# in whatever way, the kernel takes the namespaces, and with them the mounts,
# bridges and processes.  The storage is a folder that both hosts see at the
# same path.

package Lockstep::Lab;
use strict;
use warnings;
use Cwd ();
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use File::Spec;
use File::Temp qw(tempdir);
use Lockstep::Host;
use Lockstep::Net;
use Lockstep::Pki;
use Lockstep::Run qw(must now spawn stop write_file);
use POSIX qw(strftime);

our %ADDRESS = (
    hosta => '10.77.0.1', hostb => '10.77.0.2', client => '10.77.0.9',
);
my %PORT = (hosta => 'pa', hostb => 'pb');
my %BRIDGE = (hosta => '02:00:00:00:00:0a', hostb => '02:00:00:00:00:0b',
    switch => '02:00:00:00:00:01');
my %UUID = (
    hosta => '6c6f636b-7374-4570-8000-00000000000a',
    hostb => '6c6f636b-7374-4570-8000-00000000000b',
);

our $TOP = Cwd::abs_path(dirname(__FILE__) . '/../../../..');
our $BUILD = File::Spec->rel2abs($ENV{LOCKSTEP_BUILD} // "$TOP/_build");
# Where the project was built: the programs that only tests use are there.
our $OBJ = $ENV{top_builddir} // "$BUILD/build";

my %live;    # labs of this process, for the clean-up
my $owner = $$;

# Options: name (of the log folder), prefix (where Lockstep is installed;
# none: libvirt only), conf ([[section, name, value], ...]), wire ({ hostb =>
# [options] }: put the delaying wire into that host's cable), say (code).
sub new {
    my ($class, %opt) = @_;
    my $name = $opt{name} // 'lab';
    my $stamp = strftime('%Y%m%d-%H%M%S', localtime);
    my $logs = "$BUILD/logs/$stamp-$name-$$";
    my ($dir, $lock) = _own_folder();
    my $self = bless {
        say => sub { }, %opt, lock => $lock,
        logs => $logs, dir => $dir, shared => "$dir/shared", hosts => {},
    }, $class;
    $live{$self} = $self;
    make_path($logs, $self->{shared});
    my @logs = sort grep { -d } glob "$BUILD/logs/*";
    remove_tree(@logs[0 .. $#logs - 60]) if @logs > 60;
    return $self;
}

# A folder for a lab, and the lock that says that its process lives.
sub _own_folder {
    forget_the_dead();
    my $all = _lock("$BUILD/lab/lock", LOCK_SH);
    my $dir = tempdir('run-XXXXXX', DIR => "$BUILD/lab");
    chmod 0755, $dir or die "$dir: $!\n";
    return ($dir, _lock("$dir/lock", LOCK_EX));
}

sub _lock {
    my ($path, $how) = @_;
    open my $fh, '>', $path or die "$path: $!\n";
    return flock($fh, $how) ? $fh : undef;
}

# Remove the folders of labs whose process was killed before it could.
sub forget_the_dead {
    make_path("$BUILD/lab");
    my $all = _lock("$BUILD/lab/lock", LOCK_EX);
    for my $d (glob "$BUILD/lab/run-*") {
        remove_tree($d) if _lock("$d/lock", LOCK_EX | LOCK_NB);
    }
    return;
}

sub prefix_default { return "$BUILD/root" }

# Everything up: namespaces, hosts, libvirtd and lockstepd on each.
sub start {
    my ($self) = @_;
    my $t = now();
    $self->{switch} = Lockstep::Net->new('switch');
    $self->{client} = Lockstep::Net->new('client');
    $self->{switch}->bridge('sw0', $BRIDGE{switch});
    my $hosts_text = join '', "127.0.0.1 localhost\n",
        map { "$ADDRESS{$_} $_\n" } sort keys %ADDRESS;
    my $pki = Lockstep::Pki->new("$self->{dir}/ca");
    $self->{pki} = $pki;
    make_path("$self->{shared}/arbiter");
    $self->{arbiter} = "file:$self->{shared}/arbiter";
    for my $name (qw(hosta hostb)) {
        my $h = Lockstep::Host->new(
            name => $name, address => $ADDRESS{$name}, uuid => $UUID{$name},
            dir => "$self->{dir}/$name", logs => $self->{logs},
            cache => "$BUILD/lab/cache/libvirt-$name", reach => $BUILD,
            prefix => $self->{prefix}, hosts => $hosts_text,
            conf => $self->{conf}, arbiter => $self->{arbiter});
        $self->{hosts}{$name} = $h;
        $pki->issue($name, "$h->{dir}/etc/lockstep/pki");
        $h->{net}->bridge('br0', $BRIDGE{$name});
        $self->_plug($h->{net}, 'eth0', $PORT{$name},
            $self->{wire}{$name});
        $h->{net}->ip('link set eth0 master br0',
            "addr add $ADDRESS{$name}/24 dev br0");
    }
    $self->_plug($self->{client}, 'eth0', 'pc');
    $self->{client}->ip("addr add $ADDRESS{client}/24 dev eth0");
    $self->boot($_) for qw(hosta hostb);
    return now() - $t;
}

# A cable from NET's interface to the switch, through the wire if asked for.
sub _plug {
    my ($self, $net, $if, $port, $wire) = @_;
    my $sw = $self->{switch};
    if (!$wire) {
        $net->cable($if, $sw, $port);
        $sw->ip("link set $port master sw0");
        return;
    }
    $net->cable($if, $sw, "$port-x");
    $sw->cable("$port-y", $sw, $port);
    $sw->ip("link set $port master sw0");
    my $child = spawn(
        [$sw->enter("$OBJ/tests/system/wire", @$wire, "$port-x", "$port-y")],
        out => 'pipe', log => "$self->{logs}/wire-$port.log");
    my $line = readline $child->{out};
    die "wire: it does not start (see $self->{logs}/wire-$port.log)\n"
        if !defined $line || $line ne "ready\n";
    push @{ $self->{children} }, $child;
    return;
}

# Power a host on and start its daemons.
sub boot {
    my ($self, $name) = @_;
    my $h = $self->host($name);
    $h->power_on;
    $h->start_libvirtd;
    if ($self->{prefix}) {
        if (!$self->{formatted}++) {
            $h->must(['lockstep', 'arbiter', 'format',
                "$self->{shared}/arbiter"]);
        }
        $h->start_lockstepd;
    }
    return $h;
}

sub host {
    my ($self, $name) = @_;
    return $self->{hosts}{$name} // die "lab: no host $name\n";
}

# The output of a command on whichever host is up; undef when none is.
sub run_anywhere {
    my ($self, $cmd) = @_;
    for my $h (grep { $_->is_on } values %{ $self->{hosts} }) {
        my $r = $h->run($cmd, timeout => 15);
        return $r->{out} . $r->{err};
    }
    return undef;
}

# --- faults ---

sub link_of {
    my ($self, $name, $updown) = @_;
    $self->{switch}->ip("link set $PORT{$name} $updown");
    return;
}

# The hosts do not hear each other any more; the client reaches both.
sub part_hosts {
    my ($self, $onoff) = @_;
    $self->{switch}->ip(map { "link set $_ type bridge_slave "
        . "isolated $onoff" } sort values %PORT);
    return;
}

# The plug is pulled: first the host's link, then SIGKILL to all of it in one
# instant.  Returns the monotonic time between the two.
sub kill_host {
    my ($self, $name) = @_;
    $self->link_of($name, 'down');
    my $at = now();
    $self->host($name)->power_off;
    return $at;
}

sub revive_host {
    my ($self, $name) = @_;
    $self->link_of($name, 'up');
    return $self->boot($name);
}

# --- the client's side ---

# Start a command in the client's namespace; see Lockstep::Run::spawn.
sub client {
    my ($self, $cmd, %opt) = @_;
    my $child = spawn(['setpriv', '--pdeathsig', 'KILL',
        $self->{client}->enter(@$cmd)], %opt);
    push @{ $self->{children} }, $child;
    return $child;
}

sub client_run {
    my ($self, $cmd, %opt) = @_;
    return Lockstep::Run::run(['setpriv', '--pdeathsig', 'KILL',
        $self->{client}->enter(@$cmd)], %opt);
}

# Record what passes the switch's port of a host, with kernel time stamps.
sub capture {
    my ($self, $name, $file, @filter) = @_;
    my $child = spawn(
        ['setpriv', '--pdeathsig', 'KILL', $self->{switch}->enter('tcpdump',
            '-i', $PORT{$name}, '-w', $file,
            '-U', '-s', '128', '--time-stamp-precision=nano',
            '--immediate-mode', '-Z', 'root', @filter)],
        log => "$file.log");
    push @{ $self->{children} }, $child;
    # tcpdump says "listening on" when the socket is open.
    Lockstep::Run::until_ok('tcpdump listens', 60, sub {
        (Lockstep::Run::read_file("$file.log") // '') =~ /listening on/;
    }, 0.02);
    return $child;
}

# --- the end ---

sub end {
    my ($self) = @_;
    return if !delete $live{$self};
    stop($_) for @{ delete $self->{children} // [] };
    $_->end for values %{ $self->{hosts} };
    for my $n (qw(client switch)) {
        $self->{$n}->end if $self->{$n};
    }
    for my $name (keys %{ $self->{hosts} }) {
        # What an operator would look at afterwards.
        system('cp', '-r', "$self->{dir}/$name/var/log",
            "$self->{logs}/$name-var-log");
    }
    remove_tree($self->{dir});
    return;
}

# On every way out of the process that started them.
sub end_all {
    return if $$ != $owner;
    $_->end for values %live;
    return;
}

$SIG{$_} = do {
    my $s = $_;
    sub { exit 128 + { INT => 2, TERM => 15, HUP => 1 }->{$s} }
} for qw(INT TERM HUP);

END {
    my $status = $?;
    end_all();
    $? = $status;
}

1;
