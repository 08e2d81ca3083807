/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options.tbl.h - every setting of lockstepd.conf, once
 *
 * The parser, the struct, `lockstepd --help`, the sample file and the manual
 * page's list are projections of this table.
 *
 * FT_SECTIONS(S): S(section, meaning)
 * FT_OPTIONS(STR, INT): STR(section, key, default, allowed, unit, meaning)
 *                       INT(section, key, default, min, max, unit, meaning)
 * allowed: "" for any text, else the words allowed, separated by '|'.
 * In struct ft_options a setting is the member section_key.
 */
#ifndef FT_OPTIONS_TBL_H
#define FT_OPTIONS_TBL_H

#ifndef SYSCONFDIR
#define SYSCONFDIR "/etc"
#endif
#ifndef PKGLIBEXECDIR
#define PKGLIBEXECDIR "/usr/local/libexec/lockstep"
#endif

#define FT_SECTIONS(S)                                                     \
    S(host, "This host, as its peers see it.")                             \
    S(pki, "Certificates, laid out as libvirt's are.")                     \
    S(libvirt, "The local libvirt.")                                       \
    S(arbiter, "Where it is decided which side of a pair may live.")       \
    S(failover, "When a peer counts as lost, and what follows.")           \
    S(protect, "How a backup is made.")                                    \
    S(paths, "Files and folders.")

#define FT_OPTIONS(STR, INT)                                               \
    STR(host, name, "", "", "",                                            \
        "this host's name, as in its certificate; empty: the system's "    \
        "host name")                                                       \
    STR(host, listen, "*", "", "",                                         \
        "address on which peers connect; *: all, IPv4 and IPv6")           \
    INT(host, port, 16520, 1, 65535, "TCP port",                           \
        "port on which peers connect")                                     \
    STR(pki, dir, SYSCONFDIR "/lockstep/pki", "", "folder",                \
        "holds ca-cert.pem, host-cert.pem and host-key.pem")               \
    STR(libvirt, uri, "qemu:///system", "", "URI",                         \
        "connection to the local libvirt daemon")                          \
    STR(arbiter, uri, "", "", "URI",                                       \
        "the arbiter that both hosts reach, e.g. file:/shared/arbiter; "   \
        "needed before a domain can be protected")                         \
    INT(failover, detect_ms, 1000, 200, 60000, "ms",                       \
        "a peer that is silent for this long is suspected")                \
    INT(failover, lease_ms, 800, 100, 60000, "ms",                         \
        "how long an acknowledgement lets outputs leave; not above "       \
        "detect_ms")                                                       \
    INT(failover, margin_ms, 100, 10, 10000, "ms",                         \
        "what the backup adds to the lease, for the clocks' drift")        \
    STR(failover, fence, "none", "none|required", "",                      \
        "whether a go-live waits for the lost side to be fenced at the "   \
        "storage; this version cannot fence: required refuses to protect")  \
    INT(protect, downtime_ms, 300, 10, 10000, "ms",                        \
        "longest pause of the guest at the end of a clone")                \
    INT(protect, hold_ms, 5000, 200, 60000, "ms",                          \
        "how long a clone may hold the guest's outputs, from its end until " \
        "the arbiter's record is written; beyond that it is given up")     \
    STR(paths, run, "/run/lockstep", "", "folder",                         \
        "sockets")                                                         \
    STR(paths, state, "/var/lib/lockstep", "", "folder",                   \
        "what has to survive a restart: the policy of each domain")        \
    STR(paths, log, "/var/log/lockstep", "", "folder",                     \
        "logs of lockstepd and of the agents")                             \
    STR(paths, agent, PKGLIBEXECDIR "/lockstep-agent", "", "program",      \
        "started once for each protected domain")                          \
    STR(paths, emulator, PKGLIBEXECDIR "/qemu-system-x86_64", "",          \
        "program", "the emulator of prepared domains")

#endif
