# SPDX-License-Identifier: GPL-2.0-or-later
#
# Where this machine gets its Debian packages from: read from apt itself, so
# that no host name stands in the tree.  Sourced by the guest recipes.

# The suite's code name (bookworm, trixie, ...).
mirror_suite() {
    (. /etc/os-release && echo "${VERSION_CODENAME:?not a Debian release}")
}

# One "deb" line for each of Debian's own sources of that suite.
mirror_sources() {
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    lines=$(apt-get indextargets \
        --format '$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' |
        awk -F'|' -v s="$(mirror_suite)" -v k="$keyring" '
            $1 == "Packages" && $2 == "Debian" && index($4, s) == 1 {
                print "deb [signed-by=" k "] " $3 " " $4 " " $5
            }' | sort -u)
    if [ -z "$lines" ]; then
        echo "guest: apt knows no Debian mirror of $(mirror_suite);" \
            "run apt-get update" >&2
        return 1
    fi
    printf '%s\n' "$lines"
}

# How apt reaches them (proxies, certificates, time-outs).
mirror_aptopts() {
    apt-config dump | grep -E '^Acquire::(https?|ftp|Retries|AllowInsecure)' ||
        :
}
