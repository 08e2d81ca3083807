/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl.h - the parts of lockstepd, and what all of them are given
 *
 * Theory of Operation
 *
 * lockstepd is in no data path, so it may be simple where the agents may not:
 * everything that takes long (libvirt, the other host, an agent) runs in a
 * thread of its own, written from top to bottom with blocking calls that all
 * have a time limit. The main thread runs the loop: it accepts, reads
 * preambles, reaps children, and starts threads.
 *
 *   main          the main thread
 *   thread        threads, counted for each purpose
 *   job           work that someone may give up on
 *   commands      one thread per lockstep command (lockstepd.sock)
 *   status        what `status` answers
 *   protect       make a backup elsewhere: the primary's host
 *   unprotect     end the pair
 *   replica       be the backup's host: one thread per CONTROL connection
 *   control-conn  a CONTROL connection, as blocking calls
 *   keeper        one thread per domain in a pair: follows its agent
 *   keeper-core   ... and decides (pure): start the agent again, make a domain
 *                 permanent after a go-live, bring redundancy back, tidy up
 *   agent-client  start an agent, talk to it
 *   agent-report  what an agent says of its pair, read once
 *   carry         the stored definition, for the other host to store
 *   autostart     off while a pair lasts, then as it was
 *   proof         does the other host see the same file? the same emulator?
 *   vm            one domain: what is known of it, and who may work on it
 *   registry      the domains that this host knows, and their files
 *
 * Below it: control/libvirt (the local libvirtd, and nothing but the local
 * one), control/domain (a domain's XML).
 *
 * Shared state is struct vm (vm.h), which threads copy and change through its
 * functions; no lock is held across a call that can block. What an agent
 * or libvirtd knows is asked, not remembered: killing lockstepd at any time
 * loses nothing but the running commands.
 */
#ifndef LOCKSTEPD_CTL_H
#define LOCKSTEPD_CTL_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/host/loop.h"
#include "common/host/options.h"
#include "control/lockstepd/thread.h"

struct ctl {
    struct ft_options options;
    const char *config; /* --config FILE, handed to the agents */
    struct ev_loop *loop;
    struct ft_listener listener; /* of lockstepd.sock */
    pthread_mutex_t vms_lock;    /* of the list (registry.h) */
    struct vm *vms;
    struct virt *virt;
    struct thread_pool commands, connections;
    struct thread_pool background; /* what lockstepd does of its own accord:
                                       keepers, new replicas, announcements */
    atomic_bool quit;
};

/* A connection was accepted: what its thread is given. */
struct incoming {
    struct ctl *ctl;
    int fd;
};

#endif
