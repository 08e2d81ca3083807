#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The states of a pair in docs/ are what pair-state.tbl.h says.
echo 1..2
want=$(mktemp) && have=$(mktemp) || exit 99
trap 'rm -f "$want" "$have"' EXIT
"$top_builddir/docs/print-pair-states" > "$want"

sed -n '/^| `state` |/,/^$/p' "$top_srcdir/docs/agent.md" |
    sed '1,2d;/^$/d' > "$have"
if [ -s "$want" ] && diff "$want" "$have" >&2; then
    echo "ok 1 - docs/agent.md has the table's own text"
else
    echo "not ok 1 - docs/agent.md differs; print it again with" \
        "docs/print-pair-states"
fi

# lockstep(1) has them in the table's order, under State.
cut -d'`' -f2 "$want" > "$want.words" && mv "$want.words" "$want"
sed -n '/^\.It State$/,/^On a host/p' "$top_srcdir/docs/lockstep.1" |
    sed -n 's/^\.Sy \([a-z]*\).*/\1/p' > "$have"
if [ -s "$want" ] && diff "$want" "$have" >&2; then
    echo "ok 2 - lockstep(1) names each of them, and no other"
else
    echo "not ok 2 - lockstep(1) does not name the states of pair-state.tbl.h"
fi
