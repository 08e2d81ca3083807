/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the filter between a NIC and its network.
 *
 * See net/lockstep-net.c for the theory of operation.
 */
#ifndef NET_LOCKSTEP_NET_H
#define NET_LOCKSTEP_NET_H

#include "net/net.h"

/*
 * Put a filter on the netdev of a new NIC. Does nothing without "-object
 * lockstep". A netdev that cannot be filtered works as ever, and is named when
 * the guest is to be protected.
 */
void lockstep_net_attach(NICState *nic);

#endif
