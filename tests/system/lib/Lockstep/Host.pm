# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Host: one simulated host: its namespaces, its libvirtd and its
# lockstepd.  What its disk would hold is under $dir; what its memory held is
# gone after power_off().

package Lockstep::Host;
use strict;
use warnings;
use Cwd ();
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp ();
use IO::Select;
use IO::Socket::UNIX;
use JSON::PP ();
use Socket qw(SOCK_DGRAM);
use Lockstep::Net;
use Lockstep::Run qw(now read_file spawn stop until_ok write_file);

use constant QEMU_USER => 64055;    # Debian's libvirt-qemu

my $INIT = Cwd::abs_path(dirname(__FILE__) . '/../host-init.pl');

# Options: name, address, uuid, dir, logs, cache, prefix (where Lockstep is
# installed, may be missing), hosts (text of /etc/hosts), arbiter (URI), reach
# (the folder below which QEMU must find its files), say.
sub new {
    my ($class, %opt) = @_;
    my $self = bless {%opt}, $class;
    $self->{net} = Lockstep::Net->new($self->{name});
    $self->_write_disk;
    return $self;
}

sub _write_disk {
    my ($self) = @_;
    my $d = $self->{dir};
    make_path(map { "$d$_" } qw(/etc/libvirt/qemu /etc/lockstep/pki
        /var/lib/libvirt /var/log/libvirt /var/cache));
    # As docs/lockstepd.service has them; QEMU's user cannot look into them.
    make_path("$d/var/lib/lockstep", "$d/var/log/lockstep", { mode => 0750 });
    make_path($self->{cache});
    symlink $self->{cache}, "$d/var/cache/libvirt";
    write_file("$d/etc/hosts", $self->{hosts});
    write_file("$d/etc/hostname", "$self->{name}\n");
    $self->_write_users;
    write_file("$d/etc/libvirt/libvirtd.conf", <<"END");
host_uuid = "$self->{uuid}"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
END
    # User, group and ownership are Debian's defaults.  An image's former owner
    # is not remembered, as on NFS, which has no attributes to note it in.
    # What else stands here is for want of systemd, or for being many on one
    # machine (AppArmor's profiles are the kernel's).
    write_file("$d/etc/libvirt/qemu.conf", <<'END');
user = "libvirt-qemu"
group = "libvirt-qemu"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
max_core = "unlimited"
END
    $self->write_conf if $self->{prefix};
    return;
}

# QEMU's user as libvirt-daemon-system makes it, which need not be installed
# (on Debian 12 it would start a libvirtd on the machine itself).
sub _write_users {
    my ($self) = @_;
    my ($passwd, $group) = map { read_file("/etc/$_") // die "/etc/$_: $!\n" }
        qw(passwd group);
    $group .= "kvm:x:64056:\n" if $group !~ /^kvm:/m;
    $group .= 'libvirt-qemu:x:' . QEMU_USER . ":libvirt-qemu\n"
        if $group !~ /^libvirt-qemu:/m;
    my ($kvm) = $group =~ /^kvm:[^:]*:(\d+):/m;
    $passwd .= 'libvirt-qemu:x:' . QEMU_USER . ":$kvm:Libvirt Qemu:"
        . "/var/lib/libvirt:/usr/sbin/nologin\n"
        if $passwd !~ /^libvirt-qemu:/m;
    write_file("$self->{dir}/etc/passwd", $passwd);
    write_file("$self->{dir}/etc/group", $group);
    return;
}

# Options are [section, name, value] beyond the usual ones.
sub write_conf {
    my ($self, @more) = @_;
    my %conf = (
        host => { name => $self->{name}, listen => '*', port => 16520 },
        pki => { dir => '/etc/lockstep/pki' },
        libvirt => { uri => 'qemu:///system' },
        arbiter => { uri => $self->{arbiter} },
    );
    for my $o (@more, @{ $self->{conf} // [] }) {
        $conf{ $o->[0] }{ $o->[1] } = $o->[2];
    }
    my $text = "# Written by the lab.\n";
    for my $s (sort keys %conf) {
        $text .= "\n[$s]\n";
        $text .= "$_ = $conf{$s}{$_}\n" for sort keys %{ $conf{$s} };
    }
    write_file("$self->{dir}/etc/lockstep/lockstepd.conf", $text);
    return;
}

# --- power ---

sub power_on {
    my ($self) = @_;
    die "$self->{name}: it is on already\n" if $self->{init};
    my $init = spawn(
        [$self->{net}->enter('setpriv', '--pdeathsig', 'KILL', 'unshare',
            '--mount', '--uts', '--ipc', '--pid', '--fork',
            '--kill-child=KILL', '--propagation', 'private',
            $^X, $INIT, $self->{name}, $self->{dir}, $self->{reach})],
        in => 'pipe', out => 'pipe', name => "host $self->{name}",
        log => "$self->{logs}/$self->{name}-init.log",
        env => { $self->_env });
    $self->{init} = $init;
    $self->{events} = '';
    my ($pid) = $self->_event(qr/^ready (\d+)$/, 120);
    $self->{pid} = $pid;
    return $self;
}

sub _env {
    my ($self) = @_;
    my $p = $self->{prefix};
    return (
        PATH => join(':', ($p ? ("$p/bin", "$p/sbin") : ()),
            qw(/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin)),
        HOME => '/root', LC_ALL => 'C.UTF-8',
        # Where a sanitized build writes its reports; the audit reads them.
        ASAN_OPTIONS => "log_path=$self->{logs}/san-$self->{name}",
        UBSAN_OPTIONS =>
            "log_path=$self->{logs}/san-$self->{name}:print_stacktrace=1",
    );
}

# Read the init's lines until one matches; returns the captures.  With no
# time-out, nothing when none of those that are there matches.
sub _event {
    my ($self, $re, $timeout) = @_;
    my $limit = now() + $timeout;
    my $sel = IO::Select->new($self->{init}{out});
    while (1) {
        while ($self->{events} =~ s/^(.*)\n//) {
            my $line = $1;
            $self->{ended}{$1} = $2 if $line =~ /^ended (\S+) (\d+)$/;
            push @{ $self->{crashed} }, $line if $line =~ /^crashed /;
            my @got = $line =~ $re;
            return @got if @got;
        }
        my $left = $limit - now();
        if (!$sel->can_read($left > 0 ? $left : 0)) {
            return if !$timeout;
            die "host $self->{name}: no '$re' within $timeout s\n";
        }
        my $n = sysread $self->{init}{out}, $self->{events}, 4096,
            length $self->{events};
        die "host $self->{name}: its init ended"
            . " (see $self->{logs}/$self->{name}-init.log)\n" if !$n;
    }
}

# Everything on the host dies in one instant, as when its plug is pulled.
# Returns when all of it is gone.
sub power_off {
    my ($self) = @_;
    return if !$self->{init};
    $self->crashes;
    my $init = delete $self->{init};
    # The kernel sends SIGKILL to the whole PID namespace when its first
    # process dies, and lets that one be reaped only after all the others.
    kill 'KILL', $self->{pid} if $self->{pid};
    stop($init);
    delete @$self{qw(pid events ended)};
    return;
}

sub is_on { return defined $_[0]{init} }

sub end {
    my ($self) = @_;
    $self->power_off;
    $self->{net}->end;
    return;
}

# --- running things ---

sub enter {
    my ($self, @cmd) = @_;
    die "$self->{name}: it is off\n" if !$self->{pid};
    # -r: this may run in a chroot, whose root is not the namespace's.
    return ('nsenter', '-t', $self->{pid}, '-r', '-m', '-u', '-i', '-n',
        '-p', @cmd);
}

sub run {
    my ($self, $cmd, %opt) = @_;
    return Lockstep::Run::run([$self->enter(@$cmd)],
        %opt, env => { $self->_env });
}

sub must {
    my ($self, $cmd, %opt) = @_;
    return Lockstep::Run::must([$self->enter(@$cmd)],
        %opt, env => { $self->_env });
}

sub virsh {
    my ($self, @args) = @_;
    return $self->must(['virsh', '-q', '-c', 'qemu:///system', @args]);
}

# Each line that it prints goes to SAY as it comes.
sub lockstep {
    my ($self, $say, @args) = @_;
    return $self->must(['lockstep', @args], timeout => 600,
        on_line => $say);
}

# `lockstep status --json`, decoded; undef when it cannot be had now.
sub status {
    my ($self, @args) = @_;
    my $r = $self->run(['lockstep', 'status', '--json', @args], timeout => 60);
    return undef if $r->{status} != 0;
    return eval { JSON::PP->new->decode($r->{out}) };
}

# Let the host's init start a daemon.
sub start_daemon {
    my ($self, $name, $cmd, %env) = @_;
    my $log = "$self->{logs}/$self->{name}-$name.log";
    my $in = $self->{init}{in};
    print $in join("\x1f", $name, $log, (map { "$_=$env{$_}" } keys %env),
        '--', @$cmd), "\n";
    my ($pid) = $self->_event(qr/^started \Q$name\E (\d+)$/, 60);
    return $pid;
}

# Start a daemon that says READY=1 as systemd's protocol has it.
sub start_notifying {
    my ($self, $name, $cmd, $timeout) = @_;
    my $tmp = File::Temp->newdir('lsXXXXXX', TMPDIR => 1);
    my $sock = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$tmp/n")
        or die "$tmp/n: $!\n";
    $self->start_daemon($name, $cmd, NOTIFY_SOCKET => "$tmp/n");
    my $limit = now() + $timeout;
    my $sel = IO::Select->new($sock, $self->{init}{out});
    while (1) {
        my $left = $limit - now();
        my @ready = $left > 0 ? $sel->can_read($left) : ();
        die "host $self->{name}: $name is not ready after $timeout s"
            . " (see $self->{logs}/$self->{name}-$name.log)\n" if !@ready;
        for my $fh (@ready) {
            if ($fh == $sock) {
                $sock->recv(my $msg, 4096);
                return if $msg =~ /^READY=1$/m;
            } else {
                my ($st) = $self->_event(qr/^ended \Q$name\E (\d+)$/, 0)
                    or next;
                die "host $self->{name}: $name ended with status $st"
                    . " (see $self->{logs}/$self->{name}-$name.log)\n";
            }
        }
    }
}

sub start_libvirtd {
    my ($self) = @_;
    $self->start_notifying('libvirtd', ['libvirtd'], 180);
    return;
}

sub start_lockstepd {
    my ($self) = @_;
    $self->start_notifying('lockstepd', ['lockstepd'], 120);
    return;
}

# What has crashed on this host since the lab began.
sub crashes {
    my ($self) = @_;
    # Whatever the init has said by now.
    eval { $self->_event(qr/^never$/, 0) } if $self->{init};
    return @{ $self->{crashed} // [] };
}

# SIGKILL to the daemon (it must survive that), and a new one.
sub restart_lockstepd {
    my ($self) = @_;
    $self->kill_processes(qr/^lockstepd$/);
    $self->_event(qr/^ended lockstepd (\d+)$/, 60);
    return $self->start_lockstepd;
}

# --- who is there ---

# Every process of the host: [{ pid (outside), exe, cmd }].
sub processes {
    my ($self) = @_;
    return () if !$self->{pid};
    my $ns = readlink "/proc/$self->{pid}/ns/pid" // return ();
    my @found;
    for my $p (glob '/proc/[0-9]*') {
        my $theirs = readlink "$p/ns/pid" // next;
        next if $theirs ne $ns;
        my $exe = readlink "$p/exe" // next;
        my $cmd = read_file("$p/cmdline") // '';
        $cmd =~ tr/\0/ /;
        push @found, { pid => $p =~ s,.*/,,r, exe => $exe, cmd => $cmd };
    }
    return @found;
}

# Those whose program's file name matches, e.g. qr/^lockstep-agent$/.
sub pids_of {
    my ($self, $re) = @_;
    return map { $_->{pid} }
        grep { my ($b) = $_->{exe} =~ m,([^/]+?)(?: \(deleted\))?$,;
            $b =~ $re } $self->processes;
}

# Everything on the host stops (or those whose program matches), as when its
# own hypervisor pauses it; but its kernel goes on: time passes, and what
# arrives waits.  Returns the ids, for resume().
sub pause {
    my ($self, $re) = @_;
    my @pids = grep { $_ != $self->{pid} } $self->pids_of($re // qr/^/);
    kill 'STOP', @pids;
    return @pids;
}

sub resume {
    my ($self, @pids) = @_;
    return kill 'CONT', @pids;
}

# A folder of the shared storage is out of this host's reach: an empty one
# lies over it, as when the storage is not mounted.
sub hide {
    my ($self, $dir) = @_;
    return $self->must(['mount', '-t', 'tmpfs', 'hidden', $dir]);
}

sub unhide {
    my ($self, $dir) = @_;
    return $self->must(['umount', '--lazy', $dir]);
}

# SIGKILL to some of the host's processes; returns how many.
sub kill_processes {
    my ($self, $re) = @_;
    return kill 'KILL', $self->pids_of($re);
}

1;
