/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replica.h - be the backup's host */
#ifndef LOCKSTEPD_REPLICA_H
#define LOCKSTEPD_REPLICA_H

/* One CONTROL connection; takes the struct incoming and its descriptor. */
void *replica_thread(void *incoming);

#endif
