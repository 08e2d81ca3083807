# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Net: network namespaces without names, held by a process of ours,
# and the veths and bridges in them.  They end with that process, so no
# clean-up can be forgotten.

package Lockstep::Net;
use strict;
use warnings;
use Lockstep::Run qw(must spawn stop);

# A namespace: { pid, keeper, name }.
sub new {
    my ($class, $name) = @_;
    my $keeper = spawn(
        ['setpriv', '--pdeathsig', 'KILL', 'unshare', '--net', 'sh', '-c',
            'ip link set lo up && echo ready && exec cat >/dev/null'],
        in => 'pipe', out => 'pipe', name => "namespace $name");
    my $line = readline $keeper->{out};
    if (!defined $line || $line ne "ready\n") {
        stop($keeper);
        die "namespace $name: cannot make it (root in a container that may"
            . " make network namespaces is needed)\n";
    }
    return bless { name => $name, keeper => $keeper, pid => $keeper->{pid} },
        $class;
}

# The command that runs CMD in this namespace.
sub enter {
    my ($self, @cmd) = @_;
    return ('nsenter', '-t', $self->{pid}, '-n', @cmd);
}

# Several "ip" commands, one a line.
sub ip {
    my ($self, @lines) = @_;
    return must([$self->enter('ip', '-batch', '-')],
        in => join('', map { "$_\n" } @lines));
}

# A cable: interface $if here, $peer_if in $peer.
sub cable {
    my ($self, $if, $peer, $peer_if) = @_;
    $self->ip(
        "link add $if type veth peer name $peer_if netns $peer->{pid}",
        "link set $if up");
    $peer->ip("link set $peer_if up");
    return;
}

# A bridge.  Its address is its own: without one it takes the lowest of its
# ports', and where a veth's random one is above fe:54 that is the tap's, which
# is the same on both hosts of a pair.
sub bridge {
    my ($self, $br, $address) = @_;
    $self->ip(
        "link add $br address $address type bridge stp_state 0 forward_delay 0 "
            . "mcast_snooping 0",
        "link set $br up");
    return;
}

sub end {
    my ($self) = @_;
    my $keeper = delete $self->{keeper} or return;
    stop($keeper);
    return;
}

1;
