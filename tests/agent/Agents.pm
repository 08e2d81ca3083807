        my $cert = $o{"cert_$h"} || $h;
        my $name = $o{"name_$h"} || $h;
        my $name = $o{"name_$h"} || $h;
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Agents.pm - two hosts for the agent's tests: real agents over loopback TLS,
# a fake QEMU on each, one arbiter folder, one file of outputs
package Agents;
use strict;
use warnings;
use Exporter "import";
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX ":sys_wait_h";
use Time::HiRes qw(time sleep);

# Seconds for what comes unless something hangs.
use constant PATIENCE => 90;
our @EXPORT_OK = qw(PATIENCE);

my $build = $ENV{top_builddir} || ".";
my $agent = $ENV{LOCKSTEP_AGENT} || "$build/agent/lockstep-agent";
my $helper = $ENV{AGENT_HELPER} || "$build/tests/agent/agent-helper";
my $fake = $ENV{FAKE_QEMU} || "$build/tests/agent/fake-qemu";
use constant UUID => "11111111-2222-3333-4444-555555555555";
my $uuid = UUID;
my $pki;
my %alive;    # pid => 1: what this test started
$SIG{PIPE} = "IGNORE";

# ---- certificates ---------------------------------------------------------

sub run {
    my (@command) = @_;
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        open STDOUT, ">", "/dev/null";
        open STDERR, ">", "/dev/null";
        exec @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    die "@command: status $?\n" if $?;
}

# A CA and one certificate for each name; made once for the whole test.
sub pki {
    return $pki if $pki;
    $pki = tempdir("lockstep-pki-XXXXXX", TMPDIR => 1, CLEANUP => 1);
    my @ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes");
    for my $ca ("ca", "other-ca") {
        run("openssl", "req", "-x509", @ec, "-days", 2, "-subj", "/CN=$ca",
            "-keyout", "$pki/$ca.key", "-out", "$pki/$ca.pem");
    }
    for my $name ("hosta", "hostb", "stranger", "hosta-of-other-ca") {
        my $ca = $name =~ /other/ ? "other-ca" : "ca";
        my $host = $name =~ s/-of.*//r;
        make_path("$pki/$name");
        open my $ext, ">", "$pki/ext" or die;
        print $ext "subjectAltName=DNS:$host\n";
        close $ext;
        run("openssl", "req", @ec, "-subj", "/CN=$host", "-keyout",
            "$pki/$name/host-key.pem", "-out", "$pki/csr");
        run("openssl", "x509", "-req", "-in", "$pki/csr", "-CA",
            "$pki/$ca.pem", "-CAkey", "$pki/$ca.key", "-CAcreateserial",
            "-days", 2, "-extfile", "$pki/ext", "-out",
            "$pki/$name/host-cert.pem");
        run("cp", "$pki/$ca.pem", "$pki/$name/ca-cert.pem");
    }
    return $pki;
}

# ---- a pair of hosts ------------------------------------------------------

# None of those that the kernel gives to whoever connects: it would be taken
# again before it is used.
my $port = 20000 + $$ % 10000;

sub free_port {
    while (1) {
        $port++;
        return $port if IO::Socket::INET->new(Listen => 1,
            LocalAddr => "127.0.0.1", LocalPort => $port);
    }
}

sub spawn {
    my ($log, @command) = @_;
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        setpgrp;
        open STDIN, "<", "/dev/null";
        open STDOUT, ">>", $log;
        open STDERR, ">>", $log;
        exec @command or POSIX::_exit(127);
    }
    $alive{$pid} = 1;
    return $pid;
}

# Options: cert_HOST, name_HOST; failover => lines of that section (twice the
# defaults: a loaded machine must not begin a failover); qemu, qemu_HOST => more
# arguments of the fake one.
sub new {
    my ($class, %o) = @_;
    my $dir = tempdir("lockstep-agents-XXXXXX", TMPDIR => 1, CLEANUP => 1);
    my $self = bless { dir => $dir, output => "$dir/output",
        pair => sprintf("%032x", int(time * 1000)),
        fake => $o{qemu} || [],
        map({ ("fake_$_" => $o{"qemu_$_"} || []) } "hosta", "hostb") }, $class;
    pki();
    run($helper, "format", "$dir/arbiter");
    for my $h ("hosta", "hostb") {
        my $cert = $o{"cert_$h"} || $h;
        my $name = $o{"name_$h"} || $h;
        make_path("$dir/$h");
        my $host = { name => $h, dir => "$dir/$h", port => free_port(),
            vm => "$dir/$h/run/vm/$uuid", own => "$dir/$h/run/agent/$uuid",
            log => "$dir/$h/stderr" };
        open my $conf, ">", "$dir/$h/conf" or die;
        print $conf "[host]\nname=$name\nport=$host->{port}\n"
            . "[pki]\ndir=$pki/$cert\n"
            . "[failover]\n"
            . ($o{failover} || "detect_ms=2000\nlease_ms=1600\n")
            . "[paths]\nrun=$dir/$h/run\nstate=$dir/$h/state\n"
            . "log=$dir/$h/log\n";
        close $conf;
        make_path($host->{vm});
        $self->{$h} = $host;
    }
    return $self;
}

# What an agent that does not start says.
sub says {
    my (@arguments) = @_;
    open my $said, "-|", "sh", "-c", 'exec "$@" 2>&1', "sh", $agent,
        "--foreground", @arguments or die "$agent: $!";
    local $/;
    return <$said> // "";
}

sub start_agent {
    my ($self, $h) = @_;
    my $host = $self->{$h};
    $host->{agent} = spawn($host->{log}, $agent, "--foreground", "--verbose",
        "--config", "$host->{dir}/conf", "--vm", $uuid, "--name", "web1",
        "--trace", "$host->{dir}/trace");
    delete $host->{sock};
    $self->wait_for(PATIENCE, "the agent's socket", sub { $self->connect($h) });
}

sub start_qemu {
    my ($self, $h, @incoming) = @_;
    my $host = $self->{$h};
    $host->{qemu} = spawn($host->{log}, $fake, "$host->{vm}/vmlink.sock",
        $self->{output}, $h, @incoming, @{ $self->{fake} },
        @{ $self->{"fake_$h"} });
}

sub start_listener {
    my ($self, $h) = @_;
    my $host = $self->{$h};
    $host->{listener} = spawn($host->{log}, $helper, "forward",
        $host->{port}, "$host->{own}/agent.sock");
    $self->wait_for(PATIENCE, "listener of $h", sub {
        IO::Socket::INET->new(PeerAddr => "127.0.0.1:$host->{port}");
    });
}

# Both hosts up to the point where `protect` can be said.
sub start {
    my ($self) = @_;
    $self->start_qemu("hosta");
    $self->start_agent("hosta");
    $self->wait_for(PATIENCE, "QEMU on hosta",
        sub { $self->status("hosta")->{qemu_pid} });
    $self->start_backup("hostb");
}

sub start_backup {
    my ($self, $h) = @_;
    $self->start_qemu($h, "incoming");
    $self->start_agent($h) unless $self->{$h}{agent};
    $self->start_listener($h) unless $self->{$h}{listener};
    $self->wait_for(PATIENCE, "QEMU on $h",
        sub { $self->status($h)->{reason} =~ /waits for a clone/ });
}

sub connect {
    my ($self, $h) = @_;
    my $s = IO::Socket::UNIX->new(Peer => "$self->{$h}{own}/agent.sock");
    $self->{$h}{text} = "";
    return $self->{$h}{sock} = $s;
}

# One command and its reply; event lines in between are skipped.
sub command {
    my ($self, $h, $command) = @_;
    my $s = $self->{$h}{sock} || $self->connect($h) or return;
    my $line = ref $command ? encode_json($command) : $command;
    if (!syswrite $s, "$line\n") {
        $s = $self->connect($h) or return;    # it closed the last one
        syswrite $s, "$line\n";
    }
    while (1) {
        my $answer = $self->line($h, PATIENCE) // return;
        return $answer unless $answer->{event};
    }
}

sub line {
    my ($self, $h, $timeout) = @_;
    my ($host, $end) = ($self->{$h}, time + $timeout);
    $host->{text} //= "";
    my $at;
    while (($at = index $host->{text}, "\n") < 0) {
        my $bits = "";
        vec($bits, fileno $host->{sock}, 1) = 1;
        select($bits, undef, undef, $end - time) > 0 or return;
        sysread($host->{sock}, $host->{text}, 65536, length $host->{text})
            or do { delete $host->{sock}; $host->{text} = ""; return };
    }
    return decode_json(substr $host->{text}, 0, $at + 1, "");
}

sub status {
    my ($self, $h) = @_;
    return $self->command($h, { do => "status" }) || {};
}

sub pair_args {
    my ($self, $g) = @_;
    return (pair => $self->{pair}, generation => $g,
        arbiter => "file:$self->{dir}/arbiter");
}

# Make `to` the backup of what runs on `from`, for generation g.
sub protect {
    my ($self, $from, $to, $g) = @_;
    my $r = $self->command($to,
        { do => "backup", $self->pair_args($g), peer => { host => $from } });
    return $r unless $r->{ok};
    return $self->command($from, { do => "protect", $self->pair_args($g),
            peer => { host => $to, address => "127.0.0.1",
                port => $self->{$to}{port} } });
}

# Some agent of this side (1: the primary) wins the generation on record.
sub take {
    my ($self, $side) = @_;
    run($helper, "take", "$self->{dir}/arbiter", $uuid, $self->{pair}, $side);
}

# ---- waiting and ending ---------------------------------------------------

sub wait_for {
    my ($self, $seconds, $what, $sub) = @_;
    my $end = time + $seconds;
    while (time < $end) {
        my $r = $sub->();
        return $r if $r;
        sleep 0.01;
    }
    $self->tell;
    die "no $what after $seconds s\n";
}

sub wait_state {
    my ($self, $h, $state, $seconds) = @_;
    $seconds //= PATIENCE;
    return $self->wait_for($seconds, "state $state on $h",
        sub { my $s = $self->status($h); ($s->{state} // "") eq $state && $s });
}

sub protected {
    my ($self, $from, $to, $g) = @_;
    my $r = $self->protect($from, $to, $g);
    die "protect: $r->{error}\n" unless $r->{ok};
    $self->wait_state($_, "protected") for $from, $to;
}

# Wait for the end of a process of ours: its status.
sub ended {
    my ($self, $pid, $seconds) = @_;
    $self->wait_for($seconds, "end of $pid",
        sub { waitpid($pid, WNOHANG) == $pid });
    delete $alive{$pid};
    return $?;
}

sub outputs {
    my ($self, $h) = @_;
    open my $f, "<", $self->{output} or return;
    return map { { ns => $_->[0], name => $_->[1], state => $_->[2],
            position => $_->[3], counter => $_->[4] } }
        grep { $_->[1] eq $h && @$_ == 5 } map { [ split ] } <$f>;
}

sub log_of {
    my ($self, $h) = @_;
    open my $f, "<", $self->{$h}{log} or return "";
    local $/;
    return <$f>;
}

# What happened, for a failed test.
sub tell {
    my ($self) = @_;
    for my $h ("hosta", "hostb") {
        print STDERR map { "# $h: $_\n" } split /\n/, $self->log_of($h);
    }
}

sub stop {
    my ($self) = @_;
    kill "CONT", keys %alive;
    kill "KILL", keys %alive;
    waitpid $_, 0 for keys %alive;
    %alive = ();
}

END { local $?; kill "KILL", keys %alive }

1;
