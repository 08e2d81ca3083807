#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The tables in docs/protocol.md are what wire.tbl.h says.
echo 1..1
want=$(mktemp) && have=$(mktemp) || exit 99
trap 'rm -f "$want" "$have"' EXIT
"$top_builddir/docs/print-wire" > "$want"
sed '1,/^## Tables/d' "$top_srcdir/docs/protocol.md" > "$have"
if diff "$want" "$have" >&2; then
    echo "ok 1 - docs/protocol.md has the table's own text"
else
    echo "not ok 1 - docs/protocol.md differs; print it again with docs/print-wire"
fi
