/* SPDX-License-Identifier: GPL-2.0-or-later */
/* commands.h - commands of lockstep, on lockstepd.sock */
#ifndef LOCKSTEPD_COMMANDS_H
#define LOCKSTEPD_COMMANDS_H

/* One command; takes the struct incoming and its descriptor. */
void *commands_thread(void *incoming);

#endif
