#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The cores are pure, and includes follow the layers (see docs/architecture.md).

: "${top_srcdir:=.}" "${top_builddir:=.}"
n=0
bad=

tell() { # tell SENTENCE: ok when $bad is empty
    n=$((n + 1))
    if [ -z "$bad" ]; then
        echo "ok $n - $1"
    else
        echo "$bad" | sed 's/^/# /'
        echo "not ok $n - $1"
    fi
    bad=
}

# ---- what the archives of the cores call and keep --------------------------

archives='common/libcommon.a logging-channel/liblc.a primary/libpri.a
          backup/libbak.a shared-disk/libtas.a
          control/lockstepd/libkeepercore.a'
for a in $archives; do
    [ -f "$top_builddir/$a" ] || { echo "Bail out! no $a"; exit 99; }
done
paths=$(for a in $archives; do echo "$top_builddir/$a"; done)

# Memory and string functions of the C library, what the compiler adds for its
# own checks, and what another core defines. No I/O, clock, allocation, lock.
allowed='^(mem(cpy|move|set|cmp|chr)|str(len|nlen|cmp|ncmp|chr)|abort'
allowed="$allowed"'|__mem(cpy|move|set)_chk|__stack_chk_fail'
allowed="$allowed"'|__(asan|ubsan|sanitizer|odr_asan)_.*|_GLOBAL_OFFSET_TABLE_)$'

# shellcheck disable=SC2086
defined=$(nm -g --defined-only $paths 2>/dev/null |
          awk 'NF == 3 { print $3 }' | sort -u)
for a in $archives; do
    bad=$(nm -u "$top_builddir/$a" 2>/dev/null | awk '$1 == "U" { print $2 }' |
          sort -u | grep -Ev "$allowed" |
          while read -r s; do
              echo "$defined" | grep -qx "$s" || echo "$a needs $s"
          done)
    tell "$a needs nothing but memory and string functions"
done

# Variables: the table of crc32c alone, which is filled once.
for a in $archives; do
    if nm -u "$top_builddir/$a" | grep -q __asan_; then
        n=$((n + 1))
        echo "ok $n # SKIP the sanitizer adds variables of its own"
        continue
    fi
    bad=$(nm -f sysv "$top_builddir/$a" 2>/dev/null |
          awk -F'|' '{ gsub(/ /, "", $1); gsub(/ /, "", $7); }
                     $4 ~ /OBJECT/ && $7 !~ /rodata|data.rel.ro/ &&
                     $7 != "*UND*" { print $1 }' |
          grep -Ev '^crc_(table|ready)$' | sed "s,^,$a has the variable ,")
    tell "$a keeps no state of its own"
done

# ---- who includes whom -----------------------------------------------------

includes() { # includes FILE: what it includes, one a line
    sed -n 's/^[ \t]*#[ \t]*include[ \t]*\([<"][^>"]*[>"]\).*/\1/p' "$1"
}

# Refuse what is not on a list of regular expressions.
only() { # only LIST FILE...
    list=$1
    shift
    for f in "$@"; do
        includes "$f" | grep -Ev "$list" | sed "s,^,${f#"$top_srcdir"/}: ,"
    done
}

# Refuse what is on the list.
never() { # never LIST FILE...
    list=$1
    shift
    for f in "$@"; do
        includes "$f" | grep -E "$list" | sed "s,^,${f#"$top_srcdir"/}: ,"
    done
}

cd "$top_srcdir" || exit 99
std='<(std(bool|def|int)|string|stdatomic)\.h>'
common='"(common/)?(bounds|bytes|core|pair-state(\.tbl)?|ring|types)\.h"'

bad=$(only "^($std|$common)$" common/*.h common/*.c)
tell 'common includes itself and the C language'

lc='"(logging-channel/)?(wire|channel)(\.tbl)?\.h"'
bad=$(only "^($std|$common|$lc)$" logging-channel/wire.h \
      logging-channel/wire.tbl.h logging-channel/wire.c \
      logging-channel/channel.h logging-channel/channel.c)
tell "the channel's core includes common alone"

bad=$(only "^$std|\"(wire\.tbl|wire|ring|bytes)\.h\"$" \
      logging-channel/wire.[ch] common/ring.[ch] common/bounds.h \
      common/bytes.h)
tell 'what QEMU compiles too includes by its own names only'

tas='"(shared-disk/)?(arbiter|block)(\.tbl)?\.h"'
bad=$(only "^($std|$common|$tas)$" shared-disk/arbiter.[ch] \
      shared-disk/block.[ch] shared-disk/block.tbl.h)
tell "the arbiter's core includes common alone"

for role in primary backup; do
    own="\"($role/)?(machine|events)(\\.tbl)?\\.h\""
    bad=$(only "^($std|$common|$lc|$tas|$own)$" $role/machine.[ch] \
          $role/names.c $role/events.tbl.h)
    tell "$role's core includes cores below it alone"
done

own='"control/lockstepd/keeper-core\.h"'
bad=$(only "^($std|$common|$own)$" control/lockstepd/keeper-core.[ch])
tell "the keeper's core includes common alone"

bad=$(never '"backup/' primary/*.[ch]; never '"primary/' backup/*.[ch])
tell 'primary and backup do not know each other'

bad=$(never '"(primary|backup|logging-channel|shared-disk|control)/' \
      common/host/err.[ch] common/host/log.[ch] common/host/loop.[ch] \
      common/host/options.[ch] common/host/options.tbl.h \
      common/host/fdpass.[ch] common/host/inbox.[ch] \
      common/host/json*.[ch] common/host/work.[ch] \
      common/host/clock.h)
tell "the host's helpers know no protocol"

# A folder's files include those of the folders below it, and their own.
layer() { # layer FOLDER BELOW...: FOLDER's files include FOLDER and BELOW
    own=$1
    list=$(printf '|%s' "$@")
    find "$own" -name '*.[ch]' | while read -r f; do
        includes "$f" | grep '^"' |
            grep -Ev "^\"((${list#|})/[a-z/_.-]*|[a-z_.-]*)\"\$" |
            sed "s,^,$f: ,"
    done
}

core='common'
parts="$core logging-channel shared-disk"
bad=$(layer common
      layer logging-channel $core
      layer shared-disk $core
      layer role $parts
      layer primary $parts role
      layer backup $parts role
      layer agent $parts role primary backup)
tell 'common <- channel, disk <- role <- primary, backup <- agent'

bad=$(layer control/domain common/host
      layer control/libvirt common control/domain
      layer control/lockstepd $parts control/domain control/libvirt
      layer control/cli $parts control/domain)
tell 'control/ never includes role, primary, backup or agent'

bad=$(never '[<"](libvirt/|control/(libvirt|lockstepd)/)' \
          control/cli/*.[ch]
      never '[<"]libvirt/' control/domain/*.[ch])
tell 'the command takes no libvirt, and the XML needs none'

bad=$(find qemu/overlay -name '*.[ch]' | while read -r f; do
          never '"(common|logging-channel|shared-disk|primary|backup)/' "$f"
          never '<(ev|jansson|ini|openssl)' "$f"
          includes "$f" | grep '"lockstep/' |
              grep -Ev '"lockstep/(wire|wire\.tbl|ring|bytes|bounds)\.h"' |
              sed "s,^,$f: ,"
      done)
tell "QEMU's part takes the wire and the ring, no more of ours"

# ---- each file ---------------------------------------------------------------

sources=$(find common logging-channel shared-disk role primary backup agent \
               control tests \
               bench qemu/overlay -name '*.[ch]')
bad=$(for f in $sources; do
          head -3 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' ||
              echo "$f"
      done)
tell 'every source says its licence'

bad=$(for f in $(find agent backup common control docs logging-channel primary \
                     role shared-disk tests -name '*.[ch]' \
                     ! -path 'tests/qemu/*' ! -path 'tests/system/*'); do
          sed -n '2,3p' "$f" | grep -qE "^(/\*| \*) ${f##*/} - " || echo "$f"
      done)
tell 'and its own name and what it is'

bad=$(for f in $sources; do
          lines=$(wc -l < "$f")
          [ "$lines" -le 800 ] || echo "$f has $lines lines"
      done)
tell 'no source has over 800 lines'

echo "1..$n"
