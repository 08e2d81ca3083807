# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::Pki: a certificate authority and one certificate a host, with
# openssl's own commands; laid out as libvirt's are.

package Lockstep::Pki;
use strict;
use warnings;
use File::Path qw(make_path);
use Lockstep::Run qw(must write_file);

sub new {
    my ($class, $dir, $name) = @_;
    make_path($dir, { mode => 0700 });
    my $self = bless { dir => $dir }, $class;
    must(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
        'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30',
        '-subj', '/CN=' . ($name // 'Lockstep lab'),
        '-addext', 'basicConstraints=critical,CA:TRUE',
        '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
        '-keyout', "$dir/ca-key.pem", '-out', "$dir/ca-cert.pem"]);
    return $self;
}

# Write ca-cert.pem, host-cert.pem and host-key.pem for HOST into TO.
sub issue {
    my ($self, $host, $to) = @_;
    my $d = $self->{dir};
    make_path($to);
    write_file("$d/$host.ext", <<"END");
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=DNS:$host
END
    must(['openssl', 'req', '-newkey', 'ec', '-pkeyopt',
        'ec_paramgen_curve:prime256v1', '-nodes', '-subj', "/CN=$host",
        '-keyout', "$to/host-key.pem", '-out', "$d/$host.csr"]);
    must(['openssl', 'x509', '-req', '-in', "$d/$host.csr",
        '-CA', "$d/ca-cert.pem", '-CAkey', "$d/ca-key.pem",
        '-CAcreateserial', '-days', '30', '-extfile', "$d/$host.ext",
        '-out', "$to/host-cert.pem"]);
    must(['cp', "$d/ca-cert.pem", "$to/ca-cert.pem"]);
    chmod 0600, "$to/host-key.pem";
    return;
}

1;
