#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What cannot be protected is refused before anything changes, with a message
# that names the object, the reason and what to do; the guest keeps running.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Copy qw(move);
use Test::More;
use Lockstep::Audit qw(audit);
use Lockstep::Pki;
use Lockstep::Run qw(must write_file);
use Lockstep::Test qw(requires with_failover note_step);

requires('small');

# Everything that a refused command must leave as it was.
sub state_of {
    my ($f) = @_;
    my ($lab, $name) = ($f->{lab}, $f->{guest}{name});
    my $a = $lab->host('hosta');
    my $b = $lab->host('hostb');
    return {
        definition => $a->virsh('dumpxml', '--inactive', $name),
        running => $a->virsh('list'),
        backup => $b->is_on ? $b->virsh('list', '--all') : 'off',
        records => join(' ', sort glob "$lab->{shared}/arbiter/*/*"),
    };
}

# CMD must be refused with a message in which every pattern is found.
sub refused {
    my ($f, $what, $cmd, @patterns) = @_;
    my $before = state_of($f);
    my $r = $f->{lab}->host('hosta')->run($cmd, timeout => 180);
    my $said = $r->{err} . $r->{out};
    note("$what: $_") for split /\n/, $said;
    isnt($r->{status}, 0, "$what: refused") or return $said;
    like($said, $_, "$what: the message says $_") for @patterns;
    is_deeply(state_of($f), $before, "$what: nothing changed");
    return $said;
}

sub serves {
    my ($f, $when) = @_;
    ok(eval { $f->{guest}->wait_service($f->{lab}, 120); 1 },
        "$when: the guest keeps running");
    return;
}

# --- definitions that cannot be prepared ---

my @DEFINITIONS = (
    ['two virtual CPUs', [qr,<vcpu>1</vcpu>,, '<vcpu>2</vcpu>'],
        qr/vcpu/i, qr/2|two/],
    ['cache mode writeback', [qr/cache='none'/, "cache='writeback'"],
        qr/vda/, qr/writeback|cache/, qr/none/],
    ['a sound card', [qr,<serial type,,
            "<sound model='ich6'/>\n    <serial type"],
        qr/sound/],
    ['a CPU model that this host cannot give', [qr,<features>,,
            "<cpu mode='custom' match='exact'><model>EPYC</model></cpu>"
            . "\n  <features>"],
        qr/cpu/i, qr/EPYC/, qr/--cpu/],
    ['an IDE disk', [qr,dev='vda' bus='virtio',, "dev='hda' bus='ide'"],
        qr/hda/, qr/virtio/],
);

with_failover('definitions', sub {
    my ($f) = @_;
    $f->start_lab;
    my $a = $f->{lab}->host('hosta');
    my $g = $f->{guest} = Lockstep::Guest->new(kind => 'small',
        images => "$Lockstep::Lab::BUILD/guest", shared => $f->{lab}{shared});
    $g->install;
    for my $d (@DEFINITIONS) {
        my ($what, $change, @patterns) = @$d;
        $g->define($a, $change);
        unlike(refused($f, $what, ['lockstep', 'prepare', $g->{name}],
            qr/\Q$g->{name}\E/, @patterns), qr/^changed/m,
            "$what: and no change is told");
    }
    refused($f, 'no such domain', ['lockstep', 'prepare', 'nothere'],
        qr/nothere/);
    $g->define($a);
    refused($f, 'not running', ['lockstep', 'protect', $g->{name},
            '--backup', 'hostb'], qr/\Q$g->{name}\E/, qr/running|start/);

    # Not prepared, and running.
    $a->virsh('start', $g->{name});
    $g->wait_service($f->{lab}, 60);
    refused($f, 'not prepared', ['lockstep', 'protect', $g->{name},
            '--backup', 'hostb'], qr/\Q$g->{name}\E/, qr/prepare/);
    serves($f, 'not prepared');
    audit($f->{lab});
});

# --- a prepared guest that runs, and a lab with one thing wrong ---

my ($SMALL, @PROTECT) = ('small', qw(lockstep protect small --backup hostb));
use constant STATE => '/var/lib/lockstep/vm';

# Each: name, how to break it, how to mend it, what the message must say.
my @LABS = (
    ['an unknown backup host', sub { }, sub { },
        [qr/nosuchhost/], [qw(lockstep protect small --backup nosuchhost)]],
    ['a missing certificate on the primary\'s host',
        sub { hide($_[0], 'hosta', 'host-cert.pem') },
        sub { unhide($_[0], 'hosta', 'host-cert.pem') },
        [qr/host-cert\.pem/]],
    ['a missing certificate on the backup\'s host',
        sub { hide($_[0], 'hostb', 'host-cert.pem') },
        sub { unhide($_[0], 'hostb', 'host-cert.pem') },
        [qr/hostb/]],
    ['a peer with another name in its certificate',
        sub { $_[0]{lab}{pki}->issue('hostc', pki($_[0], 'hostb')) },
        sub { $_[0]{lab}{pki}->issue('hostb', pki($_[0], 'hostb')) },
        [qr/hostb/, qr/certificate for hostc, expected hostb/]],
    ['a peer of another authority',
        sub {
            Lockstep::Pki->new("$_[0]{lab}{dir}/other-ca", 'Another')
                ->issue('hostb', pki($_[0], 'hostb'));
        },
        sub { $_[0]{lab}{pki}->issue('hostb', pki($_[0], 'hostb')) },
        [qr/hostb/, qr/certificate is not signed by this pair's CA/]],
    ['a peer that trusts another authority only',
        sub {
            Lockstep::Pki->new("$_[0]{lab}{dir}/third-ca", 'A third');
            must(['cp', "$_[0]{lab}{dir}/third-ca/ca-cert.pem",
                pki($_[0], 'hostb')]);
        },
        sub { $_[0]{lab}{pki}->issue('hostb', pki($_[0], 'hostb')) },
        [qr/hostb/, qr/refused our certificate: signed by another CA/]],
    ['a disk for the state that is full',
        sub {
            my $a = $_[0]{lab}->host('hosta');
            $a->must([qw(mount -t tmpfs -o size=4096 full), STATE]);
            $a->run(['sh', '-c', 'cat /dev/zero > ' . STATE . '/full']);
        },
        sub { $_[0]{lab}->host('hosta')->must(['umount', STATE]) },
        [qr/\.json: cannot write it: No space left/]],
    ['a disk that the other host does not see',
        sub {
            my ($f) = @_;
            my $other = "$f->{lab}{dir}/other.img";
            must(['truncate', '-s', '64M', $other]);
            $f->{lab}->host('hostb')->must(['mount', '--bind', $other,
                "$f->{lab}{shared}/small.img"]);
        },
        sub {
            $_[0]{lab}->host('hostb')->must(
                ['umount', "$_[0]{lab}{shared}/small.img"]);
        },
        [qr/vda|small\.img/, qr/hostb/]],
    ['a bridge that the other host does not have',
        sub { $_[0]{lab}->host('hostb')->{net}->ip(
            'link set br0 down', 'link set br0 name br9', 'link set br9 up') },
        sub { $_[0]{lab}->host('hostb')->{net}->ip(
            'link set br9 down', 'link set br9 name br0', 'link set br0 up') },
        [qr/br0/, qr/hostb/]],
    ['another emulator on the other host',
        sub { $_[0]{lab}->host('hostb')->must(['mount', '--bind',
            '/usr/bin/qemu-system-x86_64', emulator()]) },
        sub { $_[0]{lab}->host('hostb')->must(['umount', emulator()]) },
        [qr/emulator/, qr/hostb/]],
    ['another build of the emulator on the other host',
        sub {
            my ($f) = @_;
            my $id = "$f->{lab}{dir}/another.build-id";
            write_file($id, "10.0.13 (lockstep 0123456789ab)\n");
            $f->{lab}->host('hostb')->must(
                ['mount', '--bind', $id, emulator() . '.build-id']);
        },
        sub {
            $_[0]{lab}->host('hostb')->must(
                ['umount', emulator() . '.build-id']);
        },
        [qr/emulator: it runs build .*hostb has build .*0123456789ab/]],
    ['an emulator that does not say its build on the other host',
        sub {
            $_[0]{lab}->host('hostb')->must(
                ['mount', '--bind', '/dev/null', emulator() . '.build-id']);
        },
        sub {
            $_[0]{lab}->host('hostb')->must(
                ['umount', emulator() . '.build-id']);
        },
        [qr/hostb/, qr/\.build-id is not .* install the emulator again/]],
    ['a checkpoint', sub { keep_beside($_[0], 'checkpoint',
            q{<disks><disk name='vda' checkpoint='bitmap'/></disks>}) },
        sub { forget_beside($_[0], 'checkpoint') },
        [qr/small: .*checkpoint/, qr/checkpoint-delete small/]],
    ['a snapshot', sub { keep_beside($_[0], 'snapshot',
            q{<state>shutoff</state><memory snapshot='no'/>}
            . q{<disks><disk name='vda' snapshot='internal'/></disks>}) },
        sub { forget_beside($_[0], 'snapshot') },
        [qr/small: .*snapshot/, qr/snapshot-delete small/]],
    ['a backup host that is down',
        sub { $_[0]{lab}->kill_host('hostb') },
        sub { $_[0]{lab}->revive_host('hostb') },
        [qr/hostb/]],
);

sub emulator {
    return Lockstep::Lab::prefix_default()
        . '/libexec/lockstep/qemu-system-x86_64';
}

# What libvirt keeps of a domain beside its definition, as a backup tool leaves
# it there.
sub keep_beside {
    my ($f, $kind, $more) = @_;
    my $a = $f->{lab}->host('hosta');
    my $file = "$f->{lab}{dir}/$kind.xml";
    write_file($file, "<domain$kind><name>kept</name>"
        . "<creationTime>1700000000</creationTime>$more"
        . $a->virsh('dumpxml', '--inactive', $SMALL) . "</domain$kind>\n");
    $a->virsh("$kind-create", $SMALL, $file, '--redefine');
    return;
}

sub forget_beside {
    my ($f, $kind) = @_;
    $f->{lab}->host('hosta')->virsh("$kind-delete", $SMALL, 'kept',
        '--metadata');
    return;
}

sub pki { return $_[0]{lab}->host($_[1])->{dir} . '/etc/lockstep/pki' }

sub hide {
    my ($f, $host, $file) = @_;
    my $d = pki($f, $host);
    move("$d/$file", "$d/$file.away") or die "$d/$file: $!\n";
    restart($f, $host);
    return;
}

sub unhide {
    my ($f, $host, $file) = @_;
    my $d = pki($f, $host);
    move("$d/$file.away", "$d/$file") or die "$d/$file: $!\n";
    restart($f, $host);
    return;
}

# The daemon reads its certificates when it starts.
sub restart {
    my ($f, $host) = @_;
    $f->{lab}->host($host)->restart_lockstepd;
    return;
}

with_failover('the lab', sub {
    my ($f) = @_;
    $f->start_lab;
    $f->start_guest;
    for my $c (@LABS) {
        my ($what, $break, $mend, $patterns, $cmd) = @$c;
        $break->($f);
        refused($f, $what, $cmd // \@PROTECT, @$patterns);
        $mend->($f);
        serves($f, $what);
    }
    # With everything mended it works: the refusals had the right reasons.
    restart($f, 'hostb');
    $f->protect;
    pass('mended: protected');
    audit($f->{lab}, guest => $f->{guest},
        allow => [qr/certificate|handshake/i]);
});

done_testing();
