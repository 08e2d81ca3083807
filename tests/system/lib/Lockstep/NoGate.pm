# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lockstep::NoGate: the emulator as built, but with the Output Rule's gate
# taken out (no-gate.patch): the test of the rule must notice.

package Lockstep::NoGate;
use strict;
use warnings;
use Fcntl qw(:flock);
use File::Path qw(make_path);
use JSON::PP ();
use Lockstep::Run qw(must write_file);

my $FILE = 'replay/lockstep/gate.c';

# Compile the one file again from a patched copy and link a second emulator.
# Options: qemu (the work folder of qemu/build), patch, out (a folder).
sub build {
    my (%opt) = @_;
    my $build = "$opt{qemu}/build";
    my $emulator = "$opt{out}/qemu-system-x86_64";
    my $made = (stat $emulator)[9] // 0;
    return $emulator if $made > (stat "$build/qemu-system-x86_64")[9]
        && $made > (stat $opt{patch})[9] && -e "$emulator.build-id";
    make_path($opt{out});
    open my $lock, '>', "$opt{out}/lock" or die "$opt{out}/lock: $!\n";
    flock $lock, LOCK_EX or die "$opt{out}/lock: $!\n";
    my $source = "$opt{out}/gate.c";
    unlink $source;
    must(['patch', '-s', '-o', $source, "$opt{qemu}/src/$FILE", $opt{patch}]);

    my $compile = _command($build, 'c_COMPILER', qr/lockstep_gate\.c\.o$/);
    my $link = _command($build, 'c_LINKER_RSP', qr/^qemu-system-x86_64$/);
    my $object = $compile->{output};
    my $ours = "$opt{out}/gate.o";
    my $c = $compile->{command};
    $c =~ s/-o \Q$object\E/-o '$ours'/ or die "no -o $object in: $c\n";
    $c =~ s/\S*\Q$FILE\E\b(?!\.)/'$source'/ or die "no $FILE in: $c\n";
    $c =~ s/-M[FQ] \S+//g;
    # Its own folder's headers are found beside the original.
    $c =~ s/ -c / -I'$opt{qemu}\/src\/replay\/lockstep' -c /;
    # qemu/build holds this lock while it changes the build folder.
    my @alone = ('flock', "$opt{qemu}/lock", 'sh', '-c');
    must([@alone, "cd '$build' && $c"], timeout => 900);
    my $l = $link->{command};
    $l =~ s/ \Q$object\E / '$ours' / or die "no $object in: $l\n";
    $l =~ s/-o qemu-system-x86_64 /-o '$emulator.new' /
        or die "no -o in: $l\n";
    must([@alone, "cd '$build' && $l"], timeout => 900);
    # Beside it, as beside the one that qemu/build installs.
    my ($id) = must(["$emulator.new", '--version'])
        =~ /^QEMU emulator version (.*\n)/ or die "$emulator: no version\n";
    write_file("$emulator.build-id", $id);
    rename "$emulator.new", $emulator or die "$emulator: $!\n";
    return $emulator;
}

sub _command {
    my ($build, $rule, $output) = @_;
    my $all = JSON::PP->new->decode(
        must(['ninja', '-C', $build, '--quiet', '-t', 'compdb', '-x', $rule],
            timeout => 120));
    my ($found) = grep { $_->{output} =~ $output } @$all;
    return $found // die "$build: no command makes $output\n";
}

1;
