/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * farewell.h - let a connection go without waiting for it
 *
 * What is queued is still sent (for as long as lc_conn_finish() allows), what
 * comes is ignored, and then the connection frees itself. *c becomes NULL.
 */
#ifndef LC_FAREWELL_H
#define LC_FAREWELL_H

#include "logging-channel/conn.h"

void lc_farewell(struct lc_conn **c);

#endif
