#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The manual page lists each setting of options.tbl.h, with its default and its
# bounds, and no other.

table=$top_srcdir/common/host/options.tbl.h
page=$top_srcdir/docs/lockstepd.conf.5

# section, key, default, lowest, highest (- for a text)
settings=$(tr '\n' ' ' < "$table" |
    grep -oE '(STR|INT)\([a-z]+, ([^,]*,){4}' |
    sed -E 's/"[^"]*"( "[^"]*")*/&/; s/SYSCONFDIR "/"\/etc/;
            s/PKGLIBEXECDIR "[^"]*"/""/; s/\\//g; s/ +/ /g' |
    grep -v '(section' |
    awk -F', *' '{ split($1, k, "("); d = $3; gsub(/"/, "", d);
                   lo = hi = "-"
                   if (k[1] == "INT") { lo = $4; hi = $5; sub(/,$/, "", hi) }
                   print k[2], $2, (d == "" ? "-" : d), lo, hi }')
n=0
check() { # check TRUE-OR-FALSE SENTENCE
    n=$((n + 1))
    [ "$1" = true ] && echo "ok $n - $2" || echo "not ok $n - $2"
}

count=$(echo "$settings" | wc -l)
items=$(grep -c '^\.It Li' "$page")
check "$([ "$count" = "$items" ] && echo true)" \
    "the page has as many settings as the table ($count)"

while read -r section key default lo hi; do
    part=$(awk -v s=".Ss [$section]" '/^\.S[sh]/ { on = $0 == s } on' "$page" |
           awk -v k="$key" '/^\.It/ { on = $3 == k } on' | tr '\n' ' ')
    ok=true
    case $part in
    ".It Li $key Ns = Ns Li $default "*) ;;
    ".It Li $key "*) [ "$default" = - ] || ok=false ;;
    *) ok=false ;;
    esac
    if [ "$lo" != - ] && [ "$key" != port ]; then
        case $part in
        *"($lo to $hi)"*) ;;
        *) ok=false ;;
        esac
    fi
    check $ok "[$section] $key is on the page, with its default and bounds"
done <<EOF
$settings
EOF
echo "1..$n"
