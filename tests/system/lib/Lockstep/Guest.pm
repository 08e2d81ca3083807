# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Guest: a guest of the lab: its disk on the shared folder and the
# plain domain XML that any libvirt user could have written.

package Lockstep::Guest;
use strict;
use warnings;
use File::Basename qw(dirname);
use Lockstep::Run qw(must now read_file write_file until_ok);

my $XML = dirname(__FILE__) . '/../../guest/domain.xml';
my $CLIENT = dirname(__FILE__) . '/../../client.pl';

my %KIND = (
    debian => {
        name => 'debian', memory => 1024, address => '10.77.0.10',
        mac => '52:54:00:77:00:10', port => 6379,
        service => 'redis',
        cmdline => 'root=/dev/vda rw console=ttyS0 quiet',
        uuid => '11111111-2222-4333-8444-555555555510',
    },
    small => {
        name => 'small', memory => 128, address => '10.77.0.11',
        mac => '52:54:00:77:00:11', port => 7,
        service => 'echo',
        cmdline => 'console=ttyS0 quiet',
        uuid => '11111111-2222-4333-8444-555555555511',
    },
);

# Options: kind (debian, small), images (the folder that has KIND/disk.img),
# shared (the folder to put its files in), emulator.
sub new {
    my ($class, %opt) = @_;
    my $kind = $KIND{ $opt{kind} } or die "guest: no kind $opt{kind}\n";
    return bless { %$kind, %opt }, $class;
}

# A fresh disk, kernel and initrd on the shared folder.
sub install {
    my ($self) = @_;
    my $from = "$self->{images}/$self->{kind}";
    -e "$from/done" or die "guest: $from is not made yet\n";
    must(['cp', '--sparse=always', '--reflink=auto', "$from/disk.img",
        "$self->{shared}/$self->{name}.img"], timeout => 600);
    for my $f (qw(vmlinuz initrd)) {
        must(['cp', "$from/$f", "$self->{shared}/$self->{name}-$f"],
            timeout => 600);
    }
    return $self;
}

# The domain, as text; changes are pairs [qr/old/, new].
sub xml {
    my ($self, @changes) = @_;
    my $text = read_file($XML) // die "$XML: $!\n";
    my %value = (
        NAME => $self->{name}, UUID => $self->{uuid},
        MEMORY => $self->{memory}, MAC => $self->{mac},
        CMDLINE => $self->{cmdline}, SHARED => $self->{shared},
        EMULATOR => $self->{emulator} // '/usr/bin/qemu-system-x86_64',
    );
    $text =~ s/\@([A-Z]+)\@/$value{$1} \/\/ die "$XML: \@$1\@\n"/ge;
    for my $c (@changes) {
        $text =~ s/$c->[0]/$c->[1]/ or die "guest: no $c->[0] in the XML\n";
    }
    return $text;
}

sub define {
    my ($self, $host, @changes) = @_;
    my $path = "$self->{shared}/$self->{name}.xml";
    write_file($path, $self->xml(@changes));
    return $host->virsh('define', $path);
}

# Wait until its service answers, asked from the client. SAY, if given, is told
# every few seconds for how long it has waited.
sub wait_service {
    my ($self, $lab, $timeout, $say) = @_;
    my $begin = my $told = now();
    return until_ok("$self->{name}: its service answers", $timeout, sub {
        if ($say && now() - $told >= 5) {
            $told = now();
            $say->($told - $begin);
        }
        $lab->client_run([$^X, $CLIENT, 'ready', $self->{service},
            $self->{address}, $self->{port}], timeout => 10)->{status} == 0;
    }, 0.1);
}

1;
