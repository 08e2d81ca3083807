#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# docs/transitions.md is what the tables of the cores' tests say.
echo 1..1
want=$(mktemp) || exit 99
trap 'rm -f "$want"' EXIT
"$top_builddir/docs/print-transitions" > "$want"
if [ -s "$want" ] && diff "$want" "$top_srcdir/docs/transitions.md" >&2; then
    echo "ok 1 - docs/transitions.md has the tables' own text"
else
    echo "not ok 1 - docs/transitions.md differs: make transitions"
fi
